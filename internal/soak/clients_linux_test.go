package soak

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestClientLeaves ends clients in every way; each is a detach.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT} {
		name := "left-by-" + strings.ToLower(unix.SignalName(sig))
		c := w.talker(name, held(100, name)...).start()
		w.must("output", func() bool { return len(c.out.Bytes()) > 0 })
		if err := c.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		c.wait()
		if sig != syscall.SIGKILL && c.code() != 0 {
			t.Errorf("%v: the client ended with %d: %s", sig, c.code(), c.err.String())
		}
		w.release(name)
		run, _ := w.find(name)
		w.exited(run.ID, 100, "stdout", "stderr")
	}
}

// TestTerminalCloses closes the terminal in which a client runs.
func TestTerminalCloses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	master, slave := openTerminal(t)
	c := w.talker("closed", "steady", "100", "5ms")
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = slave, slave, slave
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	c.start()
	slave.Close()
	if _, err := master.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	master.Close() // the kernel sends SIGHUP
	c.wait()
	run, _ := w.find("closed")
	w.exited(run.ID, 100, "stdout", "stderr")
}

// openTerminal makes a pseudoterminal (pts(4)).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestReaderGoes is "moat run … | head -1".
func TestReaderGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := w.talker("head", "steady", "100", "5ms")
	c.cmd.Stdout = pipe
	c.start()
	pipe.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if c.wait(); c.code() == 0 {
		t.Error("a client that could not print ended with 0")
	}
	run, _ := w.find("head")
	w.exited(run.ID, 100, "stdout", "stderr")
}

// TestSlowReader has a client whose output nobody reads: the run ends in its own time, and nothing is lost.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const n = 200_000
	w := newWorld(t)
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := w.talker("slow", "flood", fmt.Sprint(n))
	c.cmd.Stdout = pipe
	c.start()
	pipe.Close()
	w.must("the end of the run", func() bool {
		run, ok := w.find("slow")
		return ok && run.State == "exited"
	})
	if c.ended() {
		t.Error("the client has ended, though nobody read what it printed")
	}
	var shown bytes.Buffer
	if _, err := shown.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	c.want(exitTalked)
	if got := lines(t, "shown", 'o', shown.Bytes(), false); got != n {
		t.Errorf("%d lines were shown, want %d", got, n)
	}
	run, _ := w.find("slow")
	w.exited(run.ID, n, "stdout")
}

// TestFollow follows a run over the deaths of those who look after it.
func TestFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 200
	for i, victims := range [][]role{{roleSupervisor}, {roleGuard, roleSupervisor}} {
		name := fmt.Sprint(i)
		id := w.detached(held(n, name)...)
		f := w.command("-q", "logs", "-f", "--stream", "stdout", id).start()
		for range 2 {
			seen := len(f.out.Bytes())
			w.must("more output", func() bool { return len(f.out.Bytes()) > min(seen+50, (n-1)*len("o00000001\n")-1) })
			w.killRoles(victims...)
		}
		w.release(name)
		f.want(0)
		if got := lines(t, "followed", 'o', f.out.Bytes(), false); got != n {
			t.Errorf("%d lines were followed, want %d", got, n)
		}
		w.exited(id, n, "stdout", "stderr")
	}
}
