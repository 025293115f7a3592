package ledger

import (
	"os"

	"golang.org/x/sys/windows"
)

const openNoFollow = 0

// lockWhole waits for the lock of an open file, which the system drops with its handle.
func lockWhole(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}
