package term

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The variable that makes the test's own program a client, or its minder.
const childVariable = "TERM_TEST_CHILD"

func TestMain(m *testing.M) {
	switch role := os.Getenv(childVariable); {
	case len(os.Args) > 1 && os.Args[1] == "mind":
		if err := MindMain(os.Stdin); err != nil {
			os.Exit(1)
		}
	case role != "":
		os.Exit(child(role))
	default:
		os.Exit(m.Run())
	}
}

const childUndo = "\x1b[?1000l\x1b[?1049l"

// child is a client: it makes the terminal raw, says so, and ends the way that role says.
func child(role string) int {
	t, err := Open(os.Stdin, os.Stdout)
	if err != nil {
		return 3
	}
	defer t.Close()
	if err := t.MakeRaw(); err != nil {
		return 3
	}
	defer t.Restore()
	if strings.HasPrefix(role, "minded") {
		self, err := os.Executable()
		if err == nil {
			err = t.StartMinder(self, "mind")
		}
		if err != nil {
			return 3
		}
	}
	t.SetUndo([]byte("old"))
	t.SetUndo([]byte(childUndo))
	signals := make(chan os.Signal, 1)
	if !strings.HasSuffix(role, "hard") {
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	}
	fmt.Fprintf(t, "\x1b[?1049h\x1b[?1000hREADY")
	keys := make(chan string)
	go func() {
		defer t.RestoreOnPanic()
		buf := make([]byte, 16)
		for {
			n, err := t.Read(buf)
			if err != nil {
				return
			}
			if role == "panic" && buf[0] == 'q' {
				panic("broken")
			}
			keys <- string(buf[:n])
		}
	}()
	for {
		select {
		case <-signals:
			t.Restore()
			return 7
		case key := <-keys:
			switch {
			case role == "minded crash hard":
				go func() { panic("nobody restores") }()
			case key == "q":
				return 0
			}
		}
	}
}

// TestEndings ends a client in every way, and finds the terminal as it was and the undo bytes written, once.
func TestEndings(t *testing.T) {
	tests := []struct {
		role, name string
		end        func(*pty, *exec.Cmd)
		code       int
		text       string
	}{
		{"client", "normal", typeKey, 0, ""},
		{"client", "SIGTERM", send(syscall.SIGTERM), 7, ""},
		{"client", "SIGHUP", send(syscall.SIGHUP), 7, ""},
		{"panic", "panic of another goroutine", typeKey, 2, "panic: broken"},
		{"minded", "normal, minded", typeKey, 0, ""},
		{"minded", "SIGTERM, minded", send(syscall.SIGTERM), 7, ""},
		{"minded", "SIGKILL", send(syscall.SIGKILL), -1, ""},
		{"minded hard", "SIGTERM that nobody handles", send(syscall.SIGTERM), -1, ""},
		{"minded crash hard", "panic that nobody expects", typeKey, 2, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := openPTY(t)
			before := p.settings()
			p.read()
			cmd := p.start(test.role)
			p.wait("READY")
			if p.settings() == before {
				t.Fatal("the terminal is not raw")
			}
			test.end(p, cmd)
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d (%v)", code, test.code, err)
			}
			p.wait(childUndo)
			if diff := cmp.Diff(before, p.settings()); diff != "" {
				t.Errorf("settings (-before +after):\n%s", diff)
			}
			if test.text != "" {
				p.wait(test.text) // after the undo bytes
			}
			for _, pid := range p.minders() {
				waitProcess(t, pid)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if bytes.Contains(p.output, []byte(childUndo)) {
				t.Errorf("undone twice: %q", p.output)
			}
		})
	}
}

func typeKey(p *pty, _ *exec.Cmd) { p.master.WriteString("q") }

func send(sig os.Signal) func(*pty, *exec.Cmd) {
	return func(_ *pty, cmd *exec.Cmd) { cmd.Process.Signal(sig) }
}

// waitProcess waits until a process that is not ours has ended.
func waitProcess(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000); n != 1 {
		t.Errorf("process %d does not end (%v)", pid, err)
	}
}

// TestKilledUnderShell kills a client with SIGKILL under a shell with job control: the shell's own settings and those
// of the programs that it starts are as before, and its prompt works.
func TestKilledUnderShell(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	p := openPTY(t)
	p.read()
	cmd := exec.Command(shell, "--norc", "--noprofile", "-i")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm", "PS1=PROMPT> ", "HISTFILE="}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p.wait("PROMPT> ")
	settings := func() string {
		io.WriteString(p.master, "stty -a; echo E''ND\r")
		return regexp.MustCompile(`(?s)speed.*`).FindString(p.wait("END"))
	}
	before := settings()
	for range 5 {
		p.wait("PROMPT> ")
		io.WriteString(p.master, childVariable+"=minded "+os.Args[0]+" & sleep 0; echo P''ID $!; fg >/dev/null\r")
		p.wait("PID ")
		pid, err := strconv.Atoi(strings.TrimSpace(p.wait("\n")))
		if err != nil {
			t.Fatal(err)
		}
		p.wait("READY")
		minders := p.minders()
		if len(minders) != 1 {
			t.Fatalf("minders: %v", minders)
		}
		syscall.Kill(pid, syscall.SIGKILL)
		p.wait(childUndo) // before the shell's prompt or after it
		io.WriteString(p.master, "echo it w''orks\r")
		p.wait("it works")
		p.wait("PROMPT> ")
		if diff := cmp.Diff(before, settings()); diff != "" {
			t.Fatalf("stty -a (-before +after):\n%s", diff)
		}
		for _, pid := range minders {
			waitProcess(t, pid)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	p := openPTY(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, files := range [][2]*os.File{{null, p.slave}, {p.slave, null}} {
		if _, err := Open(files[0], files[1]); !errors.Is(err, ErrNotTerminal) {
			t.Errorf("%v: %v", files, err)
		}
	}
}

// TestRestoreManyTimes restores from many goroutines while others write.
func TestRestoreManyTimes(t *testing.T) {
	p := openPTY(t)
	before := p.settings()
	p.read()
	term := p.openRaw()
	for round := range 3 {
		term.SetUndo([]byte("UNDO"))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := term.Write([]byte("output ")); err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				if err := term.Restore(); err != nil {
					t.Error(err)
				}
				if now := p.settings(); now != before {
					t.Error("Restore returned before the terminal was given back")
				}
			})
		}
		wg.Wait()
		p.wait("UNDO")
		if _, err := term.Write([]byte("late")); !errors.Is(err, ErrGivenBack) {
			t.Errorf("a late write: %v", err)
		}
		io.WriteString(p.slave, fmt.Sprintf("round %d", round))
		if got := p.wait("round " + strconv.Itoa(round)); got != "round "+strconv.Itoa(round) {
			t.Errorf("after the undo bytes: %q", got)
		}
		if err := term.MakeRaw(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadIsUnblocked finds that a Read ends with Restore, and that the next key is for the next reader.
func TestReadIsUnblocked(t *testing.T) {
	p := openPTY(t)
	term := p.openRaw()
	for range 50 {
		result := make(chan error, 1)
		go func() {
			_, err := term.Read(make([]byte, 16))
			result <- err
		}()
		if err := term.Restore(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, ErrGivenBack) {
			t.Fatalf("the read that ran: %v", err)
		}
		if err := term.MakeRaw(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(p.master, "z")
		buf := make([]byte, 16)
		if n, err := term.Read(buf); err != nil || string(buf[:n]) != "z" {
			t.Fatalf("the next read: %q, %v", buf[:n], err)
		}
	}
}

func TestReadEndsWithTheTerminal(t *testing.T) {
	p := openPTY(t)
	term := p.openRaw()
	p.master.Close()
	if _, err := term.Read(make([]byte, 16)); !errors.Is(err, io.EOF) {
		t.Errorf("a read after the hang-up: %v", err)
	}
}

// TestStuckTerminal restores a terminal that is stopped, as by Ctrl-S, in the middle of a write.
func TestStuckTerminal(t *testing.T) {
	const stop, start = 0, 1 // TCOOFF, TCOON: ioctl_tty(2)
	p := openPTY(t)
	before := p.settings()
	term := p.openRaw()
	term.SetUndo([]byte("UNDO"))
	if err := unix.IoctlSetInt(int(p.slave.Fd()), unix.TCXONC, stop); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		term.Write([]byte("output"))
		close(written)
	}()
	if err := term.Restore(); !errors.Is(err, ErrStuck) {
		t.Errorf("restore: %v", err)
	}
	if p.settings() != before {
		t.Error("the settings did not come back")
	}
	p.read()
	if err := unix.IoctlSetInt(int(p.slave.Fd()), unix.TCXONC, start); err != nil {
		t.Fatal(err)
	}
	<-written
	p.wait("UNDO")
}

func TestSizes(t *testing.T) {
	p := openPTY(t)
	term := p.openRaw()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sizes := make(chan Size)
	go func() {
		defer close(sizes)
		for size := range term.Sizes(ctx) {
			sizes <- size
		}
	}()
	for _, want := range []Size{{0, 0}, {80, 24}, {65535, 65535}, {1, 1}} {
		if want.Columns > 0 {
			if err := unix.IoctlSetWinsize(int(p.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(want.Rows), Col: uint16(want.Columns)}); err != nil {
				t.Fatal(err)
			}
			syscall.Kill(os.Getpid(), syscall.SIGWINCH) // the kernel sends it to the terminal's own foreground group
		}
		if got := <-sizes; got != want {
			t.Errorf("size %v, want %v", got, want)
		}
	}
	cancel()
	if size, open := <-sizes; open {
		t.Errorf("size %v after the end", size)
	}
}
