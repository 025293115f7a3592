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
// who is attached, by the goroutine that the kernel wakes for it.
type tap struct {
	tty   *os.File
	slate *line.Slate
	loan  *os.File // while it is open the guest does not read the terminal

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
	t := &tap{tty: files.Files[0], loan: files.Files[2], done: make(chan struct{})}
	err := checkMaster(t.tty)
	if err == nil {
		t.slate, err = line.OpenSlate(files.Files[1])
	}
	err = errors.Join(err, files.Files[1].Close())
	if err != nil {
		return nil, errors.Join(err, t.tty.Close(), t.loan.Close())
	}
	return t, nil
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
func (t *tap) run(ctx context.Context, store func(context.Context, line.Output) error) error {
	defer close(t.done)
	defer func() { _ = errors.Join(t.tty.Close(), t.slate.Close(), t.loan.Close()) }()
	raw, err := t.tty.SyscallConn()
	if err != nil {
		return fmt.Errorf("read the terminal: %w", err)
	}
	var data, own []byte
	var end error
	read := func(fd uintptr) bool {
		data, end = t.slate.Read(int(fd))
		return !errors.Is(end, unix.EAGAIN)
	}
	for {
		if err := raw.Read(read); err != nil {
			return nil // stopped
		}
		if errors.Is(end, unix.EINTR) {
			continue
		}
		if end != nil {
			return nil
		}
		own = append(own[:0], data...) // a guest could change its own
		out := line.Output{Process: line.Main, Stream: line.Terminal, Offset: t.slate.Next(), Time: time.Now(), Data: own}
		if err := t.record(ctx, out, store); err != nil || ctx.Err() != nil {
			return err
		}
		t.slate.Recorded(len(data))
	}
}

func (t *tap) record(ctx context.Context, out line.Output, store func(context.Context, line.Output) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return ctx.Err()
	}
	return store(ctx, out)
}

// stop gives the terminal back. Nothing is recorded afterwards.
func (t *tap) stop() {
	t.cancel()
	_ = t.tty.SetReadDeadline(time.Unix(1, 0)) // fails if it has ended
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	timer := time.NewTimer(tapPatience)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C: // its thread is lost; the loan goes on until it returns, and nobody has the terminal
	}
}
