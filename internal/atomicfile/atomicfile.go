// Package atomicfile replaces files so that nobody ever sees half of one.
//
// It promises that after a crash at any moment the file has its old or its new content, whole; that after Write
// returned nil the new content survives the loss of power; and that an error leaves no temporary file behind. A
// process that is killed half-way may leave one: its name is TempPrefix and a random part. Sweeping those is left to
// the owner of the folder, and so is keeping two writers apart: with two, the last rename wins.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// TempPrefix begins the name of every temporary file; they are in the folder of the file that is being written.
const TempPrefix = ".moat-tmp-"

// Write replaces the file at name, a slash-separated path below root, by data with exactly the permissions perm
// (the umask is not applied). A symbolic link at name is replaced, not followed.
//
// When only the last step fails, the sync of the folder, the new content is in place although an error is returned.
func Write(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	temp := path.Join(path.Dir(name), TempPrefix+rand.Text())
	if err := writeTemp(root, temp, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := root.Rename(temp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, root.Remove(temp)))
	}
	if err := SyncDir(root, path.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeTemp makes the file temp with data on stable storage, or no file at all.
func writeTemp(root *os.Root, temp string, data []byte, perm fs.FileMode) (err error) {
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
