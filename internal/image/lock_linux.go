package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock waits for a lock on the file name in the store and returns what gives it back. how is unix.LOCK_SH or unix.LOCK_EX, with
// unix.LOCK_NB to get errBusy instead of waiting. A process that dies gives its locks back.
func (s *Store) lock(ctx context.Context, name string, how int) (release func(), err error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, how) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// The kernel cannot be told to stop waiting. Whoever gives up does not wait for that.
		go func() {
			<-got //nolint:errcheck // whatever it says
			f.Close()
		}()
		return nil, fmt.Errorf("wait for lock %s: %w", name, ctx.Err())
	}
}

// errBusy says that somebody else has a lock.
var errBusy = errors.New("images are being pulled or started")

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errBusy
		case err != nil:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		default:
			return nil
		}
	}
}
