package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// A tap reads the command's terminal for as long as the guest lends it: what the command prints is recorded, and sent to
// who is attached, by the thread that the kernel wakes for it. It waits with poll(2) for input alone: the runtime's
// poller would be woken by room for output as well, with every key that the command reads.
type tap struct {
	tty   int // the master's side
	slate *line.Slate
	loan  *os.File // while it is open the guest does not read the terminal
	wake  *os.File // an eventfd: something to read ends the waiting

	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex // while a piece is recorded
	over bool
}

// tapPatience bounds how long a tap is waited for that reads what does not come. A terminal never makes it wait; a guest
// that was taken over may have lent something else.
const tapPatience = 2 * time.Second

// openTap takes over the files of a loan.
func openTap(files line.Files) (*tap, error) {
	tty, slate, loan := files.Files[0], files.Files[1], files.Files[2]
	t := &tap{tty: -1, loan: loan, done: make(chan struct{})}
	err := checkMaster(tty)
	if err == nil {
		t.tty, err = duplicate(tty)
	}
	if err == nil {
		t.slate, err = line.OpenSlate(slate)
	}
	if err == nil {
		t.wake, err = newEvent()
	}
	if err = errors.Join(err, tty.Close(), slate.Close()); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// close ends the loan.
func (t *tap) close() error {
	var errs []error
	if t.tty >= 0 {
		errs = append(errs, unix.Close(t.tty))
	}
	if t.slate != nil {
		errs = append(errs, t.slate.Close())
	}
	return errors.Join(append(errs, t.loan.Close())...)
}

// duplicate returns another descriptor of a file, which the runtime's poller does not know.
func duplicate(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	other := -1
	cerr := raw.Control(func(fd uintptr) { other, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(cerr, err); err != nil {
		return -1, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return other, nil
}

func newEvent() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "event"), nil
}

// checkMaster refuses what is not a terminal's master that can be waited for (ioctl_tty(2), TIOCGPTN).
func checkMaster(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the terminal: %w", err)
	}
	cerr := raw.Control(func(fd uintptr) {
		var flags int
		if _, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err == nil {
			flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0)
		}
		if err == nil && flags&unix.O_NONBLOCK == 0 {
			err = errors.New("reading it may block")
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("look at the terminal: %w", err)
	}
	return nil
}

// run records what the terminal prints until its end, or until stop. Any other end is an error. The loan is over when it
// returns.
func (t *tap) run(ctx context.Context, store func(context.Context, line.Output) error) (err error) {
	defer close(t.done)
	defer func() {
		t.mu.Lock() // for open
		defer t.mu.Unlock()
		t.over = true
		err = errors.Join(err, t.close())
	}()
	fds := []unix.PollFd{{Fd: int32(t.tty), Events: unix.POLLIN}, {Fd: int32(t.wake.Fd()), Events: unix.POLLIN}}
	var own []byte
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the terminal: %w", err)
		case fds[1].Revents != 0:
			return nil
		}
		data, err := t.read(fds)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil // the terminal's end
		}
		own = append(own[:0], data...) // a guest could change its own
		out := line.Output{Process: line.Main, Stream: line.Terminal, Offset: t.slate.Next(), Time: time.Now(), Data: own}
		if err := t.record(ctx, out, store); err != nil || ctx.Err() != nil {
			return err
		}
		t.slate.Recorded(len(data))
	}
}

// A terminal gives at most some 4 KB at a time. When it gives that much there is more to come soon, and it is worth while
// to record it together: up to what a slate holds, as long as the next is there within a millisecond.
const (
	muchAtOnce = 2 << 10
	soon       = 1 // ms
)

// read reads what there is, which is the slate's until it is recorded.
func (t *tap) read(fds []unix.PollFd) ([]byte, error) {
	data, err := t.slate.Read(t.tty)
	for had := 0; err == nil && len(data)-had >= muchAtOnce && len(data) < line.MaxData; {
		if n, _ := unix.Poll(fds, soon); n != 1 || fds[1].Revents != 0 {
			break
		}
		had = len(data)
		more, err := t.slate.Read(t.tty)
		if err != nil {
			break // it will be met again
		}
		data = more
	}
	return data, err
}

func (t *tap) record(ctx context.Context, out line.Output, store func(context.Context, line.Output) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return ctx.Err()
	}
	return store(ctx, out)
}

// open returns another descriptor of the terminal.
func (t *tap) open() (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, os.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(t.tty), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}

// stop gives the terminal back. Nothing is recorded afterwards.
func (t *tap) stop() {
	t.cancel()
	_, _ = t.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // eventfd(2): a number, not zero
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	timer := time.NewTimer(tapPatience)
	defer timer.Stop()
	select {
	case <-t.done:
		_ = t.wake.Close()
	case <-timer.C: // its thread is lost; the loan goes on until it returns, and nobody has the terminal
	}
}
