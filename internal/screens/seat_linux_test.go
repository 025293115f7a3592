package screens

import (
	"bytes"
	"context"
	"errors"
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

	"moat/internal/vt"
)

// seat is a person's terminal with a moat client on it: a pseudo-terminal whose other side is a terminal emulator.
type seat struct {
	t             *testing.T
	master, slave *os.File
	before        unix.Termios
	cmd           *exec.Cmd
	done          chan struct{} // closed when the client has ended

	mu      sync.Mutex // for the fields below
	screen  *vt.Terminal
	output  []byte // all that came
	changed chan struct{}
	answers []byte // what the emulator has said
	paused  bool   // nothing is read
}

// sit starts a moat command on a terminal of that size.
func (h *house) sit(cols, rows int, args ...string) *seat {
	h.t.Helper()
	s := openSeat(h.t, cols, rows)
	s.start(h.prepare(context.Background(), args...))
	return s
}

// openSeat makes a terminal with nobody on it.
func openSeat(t *testing.T, cols, rows int) *seat {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{
		t: t, master: os.NewFile(uintptr(fd), "master"), slave: slave, done: make(chan struct{}),
		screen: vt.New(cols, rows, vt.Options{}), changed: make(chan struct{}),
	}
	s.setSize(cols, rows)
	s.before = s.settings()
	t.Cleanup(s.leave)
	go s.read()
	return s
}

// start starts a program whose controlling terminal this is.
func (s *seat) start(cmd *exec.Cmd) {
	s.t.Helper()
	s.cmd, s.done = cmd, make(chan struct{})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(done chan struct{}) {
		_ = cmd.Wait() // the exit code is asked for in code
		close(done)
	}(s.done)
}

// leave ends what is still there.
func (s *seat) leave() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.done
	}
	s.hangUp()
	s.slave.Close()
}

// hangUp closes the terminal as a window manager does.
func (s *seat) hangUp() { s.master.Close() }

// read feeds the emulator, and gives the program what it answers.
func (s *seat) read() {
	buf := make([]byte, 64<<10)
	for {
		s.mu.Lock()
		for s.paused {
			changed := s.changed
			s.mu.Unlock()
			<-changed
			s.mu.Lock()
		}
		s.mu.Unlock()
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.screen.Write(buf[:n])
		s.output = append(s.output, buf[:n]...)
		replies := s.screen.TakeReplies()
		s.answers = append(s.answers, replies...)
		s.wake()
		s.mu.Unlock()
		if _, werr := s.master.Write(replies); err != nil || werr != nil {
			return // it was closed
		}
	}
}

// wake tells who waits that something has changed. mu is held.
func (s *seat) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// pause stops or goes on reading.
func (s *seat) pause(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = on
	s.wake()
}

// typed types.
func (s *seat) typed(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatalf("type %q: %v", text, err)
	}
}

// await waits until ok, which is called with mu held, is true.
func (s *seat) await(what string, ok func() bool) {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		good, changed := ok(), s.changed
		s.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			s.t.Fatalf("%s: not within %v; the screen is\n%s\nthe output ends with %q", what, patience, s.text(), s.tail(400))
		}
	}
}

// sees waits until text is on the screen.
func (s *seat) sees(text string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%q on the screen", text), func() bool { return strings.Contains(s.screenText(), text) })
}

// got waits until bytes have come, anywhere in the output.
func (s *seat) got(text string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%q in the output", text), func() bool { return bytes.Contains(s.output, []byte(text)) })
}

// text is what is on the screen now, without spaces at the ends of lines.
func (s *seat) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screenText()
}

func (s *seat) screenText() string {
	_, rows := s.screen.Size()
	var all []byte
	for y := range rows {
		all, _ = s.screen.AppendLine(all, y)
		all = append(bytes.TrimRight(all, " "), '\n')
	}
	return strings.TrimRight(string(all), "\n")
}

// everything is the scrollback and the screen.
func (s *seat) everything() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, _ := s.screen.ScrollbackLen()
	var all []byte
	for i := range kept {
		all, _ = s.screen.AppendScrollback(all, i)
		all = append(bytes.TrimRight(all, " "), '\n')
	}
	return string(all) + s.screenText()
}

// all is a copy of the whole output.
func (s *seat) all() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.output)
}

func (s *seat) tail(n int) []byte {
	all := s.all()
	return all[max(0, len(all)-n):]
}

// resize makes the terminal another size.
func (s *seat) resize(cols, rows int) {
	s.t.Helper()
	s.mu.Lock()
	s.screen.Resize(cols, rows)
	s.mu.Unlock()
	s.setSize(cols, rows)
}

func (s *seat) setSize(cols, rows int) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(cols)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *seat) settings() unix.Termios {
	s.t.Helper()
	now, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *now
}

// raw waits until the client has taken the keyboard.
func (s *seat) raw() {
	s.t.Helper()
	if !within(patience, func() bool { return s.settings().Lflag&unix.ICANON == 0 }) {
		s.t.Fatalf("the terminal was not made raw; the output ends with %q", s.tail(400))
	}
}

// drawn waits until the client has taken the keyboard and shown the screen: what the command prints from now on is passed on.
func (s *seat) drawn() {
	s.t.Helper()
	s.raw()
	s.await("the first output", func() bool { return len(s.output) > 0 })
}

// detach leaves the run with the keys for it, and checks that the terminal was given back.
func (s *seat) detach() {
	s.t.Helper()
	s.typed("\x1fd")
	s.ends(0)
}

// ends waits for the client's end, and checks its exit code and the terminal.
func (s *seat) ends(code int) {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // it says what it does
		within(patience, func() bool { return s.cmd.ProcessState != nil })
		s.t.Fatalf("%q has not ended within %v; the output ends with\n%s", s.cmd.Args, patience, s.tail(8000))
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("%q ended with %d, want %d; the output ends with %q", s.cmd.Args, got, code, s.tail(400))
	}
	s.givenBack()
}

// minded waits until the client has a minder, without which a client that is killed cannot give the terminal back.
func (s *seat) minded() {
	s.t.Helper()
	children := fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid)
	if !within(patience, func() bool {
		files, _ := filepath.Glob(children) // the pattern is good
		for _, file := range files {
			pids, _ := os.ReadFile(file) // none of a thread that has ended
			for pid := range strings.FieldsSeq(string(pids)) {
				args, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				if strings.Contains(string(args), "\x00mind\x00") {
					return true
				}
			}
		}
		return false
	}) {
		s.t.Fatal("the client has no minder")
	}
}

// givenBack checks that the terminal is as it was before. A minder may need a moment for that.
func (s *seat) givenBack() {
	s.t.Helper()
	if !within(patience, func() bool { return s.settings() == s.before && len(leftOn(s.all())) == 0 }) {
		s.t.Errorf("the terminal was not given back: settings %+v, before %+v; modes left on: %q\nthe output ends with %q", s.settings(), s.before, leftOn(s.all()), s.tail(600))
	}
	s.drain()
}

// drain waits until the emulator has got all that was written to the terminal before, by writing behind it what no
// emulator knows. A terminal that takes nothing is left alone.
func (s *seat) drain() {
	s.t.Helper()
	const mark = "\x1b]999;drained\x07"
	s.mu.Lock()
	paused, seen := s.paused, bytes.Count(s.output, []byte(mark))
	s.mu.Unlock()
	if paused {
		return
	}
	if _, err := s.slave.WriteString(mark); err != nil {
		s.t.Fatal(err)
	}
	s.await("the end of the output", func() bool { return bytes.Count(s.output, []byte(mark)) > seen })
}
