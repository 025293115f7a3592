// The probe must not open files of control groups itself, which Go does to follow a changing CPU limit.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command probe runs inside a sandbox and tries what must not work. It is built by package sandboxtest, without cgo, and
// needs nothing of the system that it runs on.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	args := os.Args[2:]
	verbs := map[string]func([]string) any{
		"wait": wait, "calls": calls, "call": oneCall, "fds": openFiles, "walk": walk, "try": try, "killall": killAll,
		"bomb": bomb, "eat": eat, "burn": burn, "connect": connect, "knock": knock, "ask": ask, "listen": listen, "pty": pty, "ids": ids,
		"files": files,
	}
	verb, ok := verbs[os.Args[1]]
	if !ok {
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(verb(args)); err != nil {
		os.Exit(1)
	}
}

// wait blocks for ever.
func wait([]string) any {
	for {
		_ = unix.Pause()
	}
}

// openFiles returns the descriptors that this process was started with: those of its directory listing excepted.
func openFiles([]string) any {
	out := map[string]string{}
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return err.Error()
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err.Error()
	}
	for _, n := range names {
		to, err := os.Readlink("/proc/self/fd/" + n)
		if err == nil && n != strconv.Itoa(int(d.Fd())) && !strings.HasPrefix(to, "anon_inode:[event") {
			out[n] = to
		}
	}
	return out
}

// walk returns all paths whose name contains args[0], below the directories args[1:], on any file system but /proc.
func walk(args []string) any {
	found := []string{}
	for _, top := range args[1:] {
		_ = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if p == "/proc" {
				return filepath.SkipDir
			}
			if strings.Contains(filepath.Base(p), args[0]) {
				found = append(found, p)
			}
			return nil
		})
	}
	return found
}

// try performs one operation on a path and returns "ok", what was read, or the error's name.
func try(args []string) any {
	op, path := args[0], args[1]
	var err error
	switch op {
	case "read":
		var b []byte
		if b, err = os.ReadFile(path); err == nil {
			return "ok " + string(b[:min(len(b), 4096)])
		}
	case "list":
		var entries []os.DirEntry
		if entries, err = os.ReadDir(path); err == nil {
			names := []string{}
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return "ok " + strings.Join(names, " ")
		}
	case "write":
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644); err == nil {
			_, err = f.WriteString("1")
			err = errors.Join(err, f.Close())
		}
	case "open":
		var f *os.File
		if f, err = os.Open(path); err == nil {
			err = f.Close()
		}
	case "stat":
		_, err = os.Lstat(path)
	case "readlink":
		_, err = os.Readlink(path)
	case "whiteout":
		err = unix.Mknod(path, unix.S_IFCHR, 0)
	case "link":
		err = os.Link(path, args[2])
	case "rename":
		err = os.Rename(path, args[2])
	case "chmod":
		err = os.Chmod(path, 0o700)
	case "remove":
		err = os.RemoveAll(path)
	}
	return name(err)
}

// name is the kernel's name of an error, "ok" for none.
func name(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}

func killAll([]string) any { return name(syscall.Kill(-1, syscall.SIGKILL)) }

// bomb starts as many sleeping processes as it can, at most args[0], and returns how many there were.
func bomb(args []string) any {
	limit, _ := strconv.Atoi(args[0])
	var started []*exec.Cmd
	for len(started) < limit {
		cmd := exec.Command("/proc/self/exe", "wait")
		cmd.Env = []string{"GOMAXPROCS=1"}
		if cmd.Start() != nil {
			break
		}
		started = append(started, cmd)
	}
	for _, cmd := range started {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return len(started)
}

// eat uses args[0] bytes of memory and returns them.
func eat(args []string) any {
	n, _ := strconv.Atoi(args[0])
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return name(err)
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return n
}

// burn keeps all processors busy for args[0] milliseconds and returns the milliseconds of processor time that it got.
func burn(args []string) any {
	ms, _ := strconv.Atoi(args[0])
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	done := make(chan struct{})
	for range runtime.NumCPU() {
		go func() {
			for time.Now().Before(end) {
			}
			done <- struct{}{}
		}()
	}
	for range runtime.NumCPU() {
		<-done
	}
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return (u.Utime.Nano() + u.Stime.Nano()) / 1e6
}

// connect dials args[1] on network args[0]; for datagrams it sends one as well.
func connect(args []string) any {
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.Dial(args[0], args[1])
	if err == nil {
		_, err = c.Write([]byte("x"))
	}
	return name(err)
}

// ask sends a question and returns what it is answered.
func ask(args []string) any {
	c, err := net.DialTimeout("udp", args[0], 10*time.Second)
	if err != nil {
		return name(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // an error is met below
	if _, err := c.Write([]byte("question")); err != nil {
		return name(err)
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return name(err)
	}
	return string(buf[:n])
}

// knock tries to get out and returns what it is told there.
func knock(args []string) any {
	d := net.Dialer{Timeout: 20 * time.Second}
	c, err := d.Dial("tcp", args[0])
	if err != nil {
		return name(err)
	}
	told, err := io.ReadAll(c)
	if err != nil {
		return name(err)
	}
	return string(told)
}

// listen serves one connection on loopback and reports whether a byte came through.
func listen([]string) any {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return name(err)
	}
	go func() {
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	}()
	c, err := l.Accept()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return name(err)
}

// pty opens a terminal of the sandbox's own and writes through it.
func pty([]string) any {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return name(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return name(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return name(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return name(err)
	}
	_, err = slave.WriteString("x")
	return name(err)
}

// ids returns the user and group ids, real and effective.
func ids([]string) any {
	return map[string]int{"uid": os.Getuid(), "euid": os.Geteuid(), "gid": os.Getgid(), "egid": os.Getegid()}
}

// files makes, in the directory args[0], files of every kind with difficult names.
func files(args []string) any {
	out := map[string]string{}
	long := strings.Repeat("n", 255)
	for what, do := range map[string]func() error{
		"long name":     func() error { return os.WriteFile(filepath.Join(args[0], long), []byte("x"), 0o644) },
		"invalid UTF-8": func() error { return os.WriteFile(filepath.Join(args[0], "\xff\xfe"), []byte("x"), 0o644) },
		"newline":       func() error { return os.WriteFile(filepath.Join(args[0], "a\nb"), []byte("x"), 0o644) },
		"fifo":          func() error { return unix.Mkfifo(filepath.Join(args[0], "fifo"), 0o644) },
		"socket": func() error {
			_, err := net.Listen("unix", filepath.Join(args[0], "socket"))
			return err
		},
		"link out": func() error { return os.Symlink("/etc/shadow", filepath.Join(args[0], "link")) },
		"closed directory": func() error {
			return errors.Join(os.Mkdir(filepath.Join(args[0], "closed"), 0o700),
				os.WriteFile(filepath.Join(args[0], "closed", "f"), nil, 0), os.Chmod(filepath.Join(args[0], "closed"), 0))
		},
		"rename between directories": func() error {
			return errors.Join(os.MkdirAll(filepath.Join(args[0], "d1"), 0o755), os.MkdirAll(filepath.Join(args[0], "d2"), 0o755),
				os.WriteFile(filepath.Join(args[0], "d1", "f"), nil, 0o644),
				os.Rename(filepath.Join(args[0], "d1", "f"), filepath.Join(args[0], "d2", "f")))
		},
		"hard link": func() error {
			return errors.Join(os.WriteFile(filepath.Join(args[0], "h1"), nil, 0o644),
				os.Link(filepath.Join(args[0], "h1"), filepath.Join(args[0], "h2")))
		},
		"truncate": func() error { return os.WriteFile(filepath.Join(args[0], "h1"), []byte("y"), 0o644) },
	} {
		out[what] = name(do())
	}
	return out
}
