package run

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openNoFollow keeps an open from following a link and from blocking on a FIFO.
const openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK

// setLock locks f with flock(2), which belongs to the open file description as Linux's does. Without wait it
// returns ErrLocked if somebody else has the lock.
func setLock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	err := onFD(f, func(fd uintptr) error {
		for {
			if err := unix.Flock(int(fd), how); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// getLock reports whether another open file description has a lock on f. flock cannot be asked, only tried: for a
// moment f has a shared lock, which other askers do not notice.
func getLock(f *os.File) (bool, error) {
	err := onFD(f, func(fd uintptr) error {
		if err := unix.Flock(int(fd), unix.LOCK_SH|unix.LOCK_NB); err != nil {
			return err
		}
		return unix.Flock(int(fd), unix.LOCK_UN)
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for lock %s: %w", f.Name(), err)
	}
	return false, nil
}

// removeTree removes a folder and everything in it. It follows no link.
func removeTree(path string) error { return os.RemoveAll(path) }
