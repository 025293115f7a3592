package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is a program that keeps terminal sessions: it starts them with nobody attached, and attaches.
type keeper struct {
	name   string
	start  func(t testing.TB, session, script string) // a shell's script, in a terminal of its own
	attach func(session string) program
}

// keepers lists those that there are, moat first.
func (b *bench) keepers(t testing.TB) []keeper {
	t.Helper()
	all := []keeper{b.moatKeeper(t)}
	dir := scratch(t)
	for _, k := range []struct {
		name string
		make func(testing.TB, string) keeper
	}{{"tmux", tmuxKeeper}, {"dtach", dtachKeeper}, {"screen", screenKeeper}} {
		if _, err := exec.LookPath(k.name); err != nil {
			b.missing(k.name + ": not installed")
			continue
		}
		all = append(all, k.make(t, dir))
	}
	if b.engine != nil {
		all = append(all, b.engine.keeper(t))
	}
	return all
}

func (b *bench) moatKeeper(t testing.TB) keeper {
	t.Cleanup(func() { settle(t) }) // after the last run was destroyed: it waits for all guards
	return keeper{
		name: "moat",
		start: func(t testing.TB, session, script string) {
			t.Helper()
			must(t, b.command("run", "-d", "-it", "--name", session, "--", "sh", "-c", script))
			t.Cleanup(func() { must(t, b.command("destroy", "-f", session)) })
		},
		attach: func(session string) program { return b.command("-q", "attach", session) },
	}
}

// tmuxKeeper is a server of tmux that does nothing but keep.
func tmuxKeeper(t testing.TB, dir string) keeper {
	conf := filepath.Join(dir, "tmux.conf")
	text := "set -g status off\nset -g history-limit 10000\nset -g default-terminal screen-256color\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) program {
		return program{
			args: append([]string{"tmux", "-S", filepath.Join(dir, "tmux"), "-f", conf}, args...),
			env:  append(os.Environ(), "TMUX=", "TERM=xterm-256color"),
		}
	}
	return keeper{
		name: "tmux",
		start: func(t testing.TB, session, script string) {
			t.Helper()
			must(t, command("new-session", "-d", "-s", session, "-x", "80", "-y", "24", "sh", "-c", script))
			t.Cleanup(func() { must(t, command("kill-session", "-t", session)) })
		},
		attach: func(session string) program { return command("attach", "-t", session) },
	}
}

func dtachKeeper(_ testing.TB, dir string) keeper {
	return keeper{
		name: "dtach",
		start: func(t testing.TB, session, script string) {
			t.Helper()
			endedBy(t, program{args: []string{"dtach", "-n", filepath.Join(dir, session), "-r", "none", "sh", "-c", script}})
		},
		attach: func(session string) program {
			return program{args: []string{"dtach", "-a", filepath.Join(dir, session), "-r", "none"}}
		},
	}
}

func screenKeeper(t testing.TB, dir string) keeper {
	sockets := filepath.Join(dir, "screen")
	if err := os.Mkdir(sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) program {
		return program{args: append([]string{"screen", "-c", os.DevNull}, args...), env: append(os.Environ(), "SCREENDIR="+sockets, "TERM=xterm-256color")}
	}
	return keeper{
		name: "screen",
		start: func(t testing.TB, session, script string) {
			t.Helper()
			must(t, command("-h", "10000", "-dmS", session, "sh", "-c", script))
			t.Cleanup(func() { must(t, command("-S", session, "-X", "quit")) })
		},
		attach: func(session string) program { return command("-d", "-r", session) },
	}
}

func (e *engine) keeper(t testing.TB) keeper {
	return keeper{
		name: "docker attach",
		start: func(t testing.TB, session, script string) {
			t.Helper()
			must(t, e.runWith([]string{"-dit", "--name", session}, "sh", "-c", script))
			t.Cleanup(func() { must(t, program{args: []string{e.docker, "kill", session}, env: e.env}) })
		},
		attach: func(session string) program {
			return program{args: []string{e.docker, "attach", session}, env: e.env}
		},
	}
}

// must executes a program that leaves a session running, or ends one.
func must(t testing.TB, p program) {
	t.Helper()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env, cmd.Dir = p.env, p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", p.args, err, out)
	}
}

// endedBy is must for a program whose session nothing but a signal can end.
func endedBy(t testing.TB, p program) {
	t.Helper()
	must(t, p)
	t.Cleanup(func() {
		for _, process := range processes(t) {
			if strings.Join(process.args, " ") != strings.Join(p.args, " ") {
				continue
			}
			if found, err := os.FindProcess(process.pid); err == nil {
				_ = found.Kill() // it may have ended by itself
			}
		}
	})
}

// viewer is a client in a terminal of its own, whose output is read as it comes.
type viewer struct {
	cmd    *exec.Cmd
	tty    *os.File // master
	begun  time.Time
	pieces chan []byte // closed when the terminal is
	rest   []byte      // of the last piece, not yet looked at
}

// view starts a client.
func view(t testing.TB, p program) *viewer {
	t.Helper()
	v := &viewer{cmd: exec.Command(p.args[0], p.args[1:]...), pieces: make(chan []byte, 64)}
	v.cmd.Env, v.cmd.Dir = p.env, p.dir
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	v.tty = master
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = slave, slave, slave
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	v.begun = time.Now()
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(v.pieces)
		for {
			buf := make([]byte, 64<<10)
			n, err := v.tty.Read(buf)
			if n > 0 {
				v.pieces <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return v
}

// openTerminal makes a terminal of 80 columns and 24 rows. Its master is one whose reads end when it is closed.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, nil
}

// errSilent says that what was waited for has not come.
var errSilent = errors.New("it did not come")

// await reads until mark has come, which must not be cut off from what it begins with by more than one piece.
func (v *viewer) await(mark string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		if i := bytes.Index(v.rest, []byte(mark)); i >= 0 {
			v.rest = v.rest[i+len(mark):]
			return nil
		}
		v.rest = v.rest[max(0, len(v.rest)-len(mark)+1):]
		select {
		case piece, ok := <-v.pieces:
			if !ok {
				return fmt.Errorf("wait for %q: the terminal was closed", mark)
			}
			v.rest = append(v.rest[:len(v.rest):len(v.rest)], piece...)
		case <-timer.C:
			return fmt.Errorf("wait for %q: %w", mark, errSilent)
		}
	}
}

// seen is await, or the end of the test.
func (v *viewer) seen(t testing.TB, mark string) {
	t.Helper()
	if err := v.await(mark, runLimit); err != nil {
		t.Fatalf("%q: %v", v.cmd.Args, err)
	}
}

// hangUp closes the terminal and waits for the client's end.
func (v *viewer) hangUp() {
	v.tty.Close()
	timer := time.AfterFunc(runLimit, func() { _ = v.cmd.Process.Kill() })
	defer timer.Stop()
	_ = v.cmd.Wait() // its exit code says how it takes a hang-up
	for range v.pieces {
	}
}
