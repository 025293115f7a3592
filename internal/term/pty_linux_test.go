package term

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a real terminal with a test on its other side.
type pty struct {
	t             *testing.T
	master, slave *os.File
	mu            sync.Mutex
	output        []byte
	more          chan struct{}
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{t: t, master: os.NewFile(uintptr(fd), "master"), slave: os.NewFile(uintptr(slave), "/dev/pts/"+strconv.Itoa(n)), more: make(chan struct{}, 1)}
	t.Cleanup(func() { p.master.Close(); p.slave.Close() })
	return p
}

// read collects the output from now on.
func (p *pty) read() {
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := p.master.Read(buf)
			p.mu.Lock()
			p.output = append(p.output, buf[:n]...)
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
}

// wait waits for text, and returns and forgets all up to it.
func (p *pty) wait(text string) string {
	p.t.Helper()
	limit := time.After(60 * time.Second)
	for {
		p.mu.Lock()
		i := bytes.Index(p.output, []byte(text))
		if i >= 0 {
			head := string(p.output[:i+len(text)])
			p.output = p.output[i+len(text):]
			p.mu.Unlock()
			return head
		}
		p.mu.Unlock()
		select {
		case <-p.more:
		case <-limit:
			p.t.Fatalf("no %q in %q", text, p.output)
		}
	}
}

func (p *pty) settings() settings {
	p.t.Helper()
	s, err := getSettings(p.slave, p.slave)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// start runs the test's own program on the terminal, in a session of its own.
func (p *pty) start(role string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// minders are the processes that mind the terminal now.
func (p *pty) minders() []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/fd/3")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != p.slave.Name() {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(args, []byte("\x00mind")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// openRaw opens the terminal in this process.
func (p *pty) openRaw() *Terminal {
	p.t.Helper()
	term, err := Open(p.slave, p.slave)
	if err == nil {
		err = term.MakeRaw()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { term.Close() })
	return term
}
