package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how many directories are open at a time. What lies deeper is first moved to the top.
const maxDepth = 100

// removeTree removes a run's folder and everything in it, as far as it may, and tells of the first thing that it
// could not remove. What a sandbox may have left there does not lead it elsewhere: it follows no link, does not
// enter what is mounted there, and makes directories that nobody may read readable first. The lock goes last, so
// that others can see that somebody is at work. Nothing to remove is no error.
func removeTree(path string) error {
	top, err := openDir(unix.AT_FDCWD, path, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer top.Close()
	r := &remover{top: top}
	r.empty(top, path, 0)
	if r.err != nil {
		return r.err
	}
	r.try("remove", path+"/"+FileLock, unix.Unlinkat(int(top.Fd()), FileLock, 0))
	r.try("remove", path, unix.Rmdir(path))
	return r.err
}

type remover struct {
	top     *os.File
	changes int   // things removed or moved
	err     error // the first one
}

// try notes what became of a step. That something is gone is what was wanted.
func (r *remover) try(op, path string, err error) {
	switch {
	case err == nil:
		r.changes++
	case r.err == nil && !errors.Is(err, unix.ENOENT):
		r.err = &fs.PathError{Op: op, Path: path, Err: err}
	}
}

// empty removes what is in dir, and goes on after errors. A directory that changes while it is read may not show
// everything (readdir(3)), so it is read until there was nothing to do.
func (r *remover) empty(dir *os.File, path string, depth int) {
	for before := -1; before != r.changes; {
		before = r.changes
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			r.try("read", path, err)
			return
		}
		for {
			names, err := dir.Readdirnames(1000)
			for _, name := range names {
				if depth > 0 || name != FileLock {
					r.remove(dir, name, path+"/"+name, depth)
				}
			}
			if err != nil { // io.EOF most of all; what could not be read is found when dir cannot be removed
				break
			}
		}
	}
}

func (r *remover) remove(dir *os.File, name, path string, depth int) {
	fd := int(dir.Fd())
	unlink := unix.Unlinkat(fd, name, 0)
	if unlink == nil {
		r.changes++
		return
	}
	rmdir := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	switch {
	case errors.Is(rmdir, unix.ENOTDIR): // it is a file, and the first error is why it stays
		r.try("remove", path, unlink)
		return
	case !errors.Is(rmdir, unix.ENOTEMPTY):
		r.try("remove", path, rmdir)
		return
	}
	sub, err := openDir(fd, name, unix.RESOLVE_NO_XDEV)
	if err != nil {
		r.try("open", path, err)
		return
	}
	defer sub.Close()
	if depth == maxDepth {
		to := ".deep-" + NewID()
		r.try("move", path, unix.Renameat2(fd, name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE))
		return
	}
	r.empty(sub, path, depth+1)
	r.try("remove", path, unix.Unlinkat(fd, name, unix.AT_REMOVEDIR))
}

// openDir opens a directory, never through a link, and makes it readable for its owner before, if it is not.
func openDir(at int, name string, resolve uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolve}
	fd, err := unix.Openat2(at, name, how)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// An O_PATH descriptor cannot be read or changed itself, only through its name in /proc (open(2)).
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&0o700 != 0o700 {
		if err := unix.Chmod(self, 0o700); err != nil && !errors.Is(err, unix.EPERM) {
			return nil, err
		}
	}
	return os.OpenFile(self, os.O_RDONLY|unix.O_DIRECTORY, 0)
}
