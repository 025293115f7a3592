package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Lock takes the lock that a run's folder has at path, and makes the file if it is missing. It does not wait:
// ErrLocked says that somebody has it. The lock is held until every descriptor that came from this one, in any
// process that inherited it, is closed; closing the result is letting go as far as this process is concerned.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := take(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// FromFD takes over a lock that the parent process holds and has passed on as descriptor fd.
func FromFD(fd uintptr, path string) (*os.File, error) {
	f := os.NewFile(fd, path)
	if f == nil {
		return nil, fmt.Errorf("descriptor %d cannot be a lock", fd)
	}
	if err := inherited(f); err != nil {
		return nil, fmt.Errorf("take over lock: %w", err)
	}
	if err := take(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// take locks f, which is a no-op when its open file description has the lock already, and makes sure that path
// still is the same file: whoever had the lock before may have removed the run.
func take(f *os.File, path string) error {
	if err := setLock(f, false); err != nil {
		return err
	}
	mine, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at lock: %w", err)
	}
	now, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at lock: %w", err)
	}
	if !os.SameFile(mine, now) {
		return fmt.Errorf("look at lock: %s was replaced: %w", path, fs.ErrNotExist)
	}
	return nil
}

// Locked reports whether anybody holds the lock at path. It never takes it. No file means that nobody does.
func Locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open lock: %w", err)
	}
	defer f.Close()
	return getLock(f)
}
