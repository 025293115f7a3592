//go:build unix

package term

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// settings are a terminal's settings (termios(3)); those of its input and its output are the same.
type settings struct{ unix.Termios }

func getSettings(in, _ *os.File) (settings, error) {
	termios, err := unix.IoctlGetTermios(int(in.Fd()), getTermios)
	if err != nil {
		return settings{}, err
	}
	return settings{*termios}, nil
}

// setSettings works in the background too: there, SIGTTOU would stop whoever does not ignore it (tcsetattr(3)).
func setSettings(in, _ *os.File, s settings) error {
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	return unix.IoctlSetTermios(int(in.Fd()), setTermios, &s.Termios)
}

func makeRaw(in, _ *os.File) error {
	_, err := term.MakeRaw(int(in.Fd()))
	return err
}

// resizes has a value after the size may have changed (SIGWINCH).
func resizes() (changes <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	return signals, func() { signal.Stop(signals) }
}

// waker waits for input and can be woken from it. The terminal itself is never made non-blocking: its open file is
// shared with the shell that started us.
type waker struct{ r, w *os.File }

func newWaker() (*waker, error) {
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		return nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
		}
	}
	return &waker{os.NewFile(uintptr(fds[0]), "wake"), os.NewFile(uintptr(fds[1]), "wake")}, nil
}

// wake ends a wait, or the next one.
func (w *waker) wake() { _, _ = w.w.Write([]byte{0}) }

// drain takes back what woke nobody.
func (w *waker) drain() {
	conn, err := w.r.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool {
		_, _ = unix.Read(int(fd), make([]byte, 64))
		return true // whatever there was: do not wait
	})
}

func (w *waker) close() error { return errors.Join(w.r.Close(), w.w.Close()) }

// wait returns true when something can be read from in, false when it was woken.
func (w *waker) wait(in *os.File) (bool, error) {
	conn, err := w.r.SyscallConn()
	if err != nil {
		return false, err
	}
	var ready bool
	if e := conn.Control(func(fd uintptr) { ready, err = waitInput(int(in.Fd()), int(fd)) }); e != nil {
		err = e
	}
	return ready, err
}
