//go:build !windows

package atomicfile

import (
	"errors"
	"os"
)

// SyncDir makes the names in a folder below root (created, renamed, removed) survive the loss of power: fsync(2) of a
// file does not say that the entry in its folder reached the disk.
func SyncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
