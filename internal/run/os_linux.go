package run

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openNoFollow keeps an open from following a link and from blocking on a FIFO.
const openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK

// wholeFile is a lock on all of a file, as open file description locks want it: they belong to the description
// and not to the process (fcntl(2), since Linux 3.15), so that a child that inherits it holds the lock too.
func wholeFile() *unix.Flock_t {
	return &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
}

// setLock locks f. Without wait it returns ErrLocked if somebody else has the lock.
func setLock(f *os.File, wait bool) error {
	cmd := unix.F_OFD_SETLK
	if wait {
		cmd = unix.F_OFD_SETLKW
	}
	err := onFD(f, func(fd uintptr) error {
		for {
			if err := unix.FcntlFlock(fd, cmd, wholeFile()); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// getLock reports whether another open file description has a lock on f.
func getLock(f *os.File) (bool, error) {
	lock := wholeFile()
	err := onFD(f, func(fd uintptr) error { return unix.FcntlFlock(fd, unix.F_OFD_GETLK, lock) })
	if err != nil {
		return false, fmt.Errorf("ask for lock %s: %w", f.Name(), err)
	}
	return lock.Type != unix.F_UNLCK, nil
}
