package native

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxDepth is how far removeAll goes down before it moves what is further down to the top. It bounds the descriptors
// in use: a sandbox can make trees of any depth.
const maxDepth = 32

// removeAll removes name in the directory parent with everything below it. It expects a tree that was made to be hard to
// remove: it follows no link, goes no mount and no length of path too far, and opens what modes have closed. Nobody but
// another removeAll may change the tree meanwhile.
func removeAll(parent int, name string) error {
	r := remover{top: parent}
	if err := r.remove(parent, name, 0); err != nil {
		return err
	}
	for len(r.moved) > 0 {
		next := r.moved[len(r.moved)-1]
		r.moved = r.moved[:len(r.moved)-1]
		if err := r.remove(parent, next, 0); err != nil {
			return err
		}
	}
	return nil
}

type remover struct {
	top   int      // the directory that deep ones are moved to
	moved []string // their names there
}

func (r *remover) remove(parent int, name string, depth int) error {
	// Most are files, and trying costs nothing.
	err := unix.Unlinkat(parent, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err == nil {
		return nil
	}
	if depth == maxDepth {
		err = r.move(parent, name)
	} else if err = r.empty(parent, name, depth); err == nil {
		err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) { // somebody else removes the same tree
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

// move puts a directory that is too deep at the top, to be removed later.
func (r *remover) move(parent int, name string) error {
	to := ".removed-" + rand.Text()              // a name that no other removeAll takes
	if err := openUp(parent, name); err != nil { // moving a directory writes its ".."
		return err
	}
	if err := unix.Renameat(parent, name, r.top, to); err != nil {
		return err
	}
	r.moved = append(r.moved, to)
	return nil
}

// empty removes what is in the directory name.
func (r *remover) empty(parent int, name string, depth int) error {
	if err := openUp(parent, name); err != nil {
		return err
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1000)
		if errors.Is(err, io.EOF) || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := r.remove(fd, n, depth+1); err != nil {
				return err
			}
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil { // what was removed may have moved what was not read yet
			return err
		}
	}
}

// openUp lets us read and write a directory of ours, whatever its mode. The descriptor makes sure that it is a directory
// and not a link, whose target would be changed instead.
func openUp(parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&0o700 == 0o700 {
		return nil
	}
	return unix.Chmod(procFD(fd), 0o700)
}
