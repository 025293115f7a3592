//go:build unix

package box

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Clear removes everything in a sandbox's folder but the home directory, and that and the folder itself if they are empty. home is
// its name in the folder. Everything else there is moat's own: the sandbox writes in the home directory only.
func Clear(dir, home string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Name() == home {
			left = syscall.Rmdir(path) != nil
			continue
		}
		if err := removeTree(path); err != nil {
			return err
		}
	}
	if left {
		return nil
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// removeTree removes a tree whose modes may forbid that to its owner.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// A directory is visited before it is read.
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(p, 0o700) // what it did not help is seen below
		}
		return nil
	})
	return os.RemoveAll(path)
}
