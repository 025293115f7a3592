package secret

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

const openNoFollow = 0

// lockWhole waits for the lock of an open file, which the system drops with its handle.
func lockWhole(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}

// private leaves it to the folder: a person's profile is closed to others by what it inherits.
func private(string, fs.FileInfo) error { return nil }
