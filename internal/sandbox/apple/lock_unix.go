//go:build unix

package apple

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock waits until nobody changes the container of the sandbox whose folder is dir any more, and keeps others from it until the
// file is closed, by all processes that have it. The command gets it too (call.hold): so whoever comes after a killed supervisor
// waits for what that had asked for. fs.ErrNotExist: there is no such folder.
func lock(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// Whoever had it before may have removed the folder.
		now, err := os.Stat(path)
		held, heldErr := f.Stat()
		if heldErr != nil {
			return nil, errors.Join(heldErr, f.Close())
		}
		if err == nil && os.SameFile(now, held) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock of the sandbox: %w", err)
		default:
			if err := pause(ctx, 5*time.Millisecond); err != nil {
				return fmt.Errorf("another process is changing the sandbox: %w", err)
			}
		}
	}
}

// pause paces questions about what has no event: other processes' locks, and Apple's system at work.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
