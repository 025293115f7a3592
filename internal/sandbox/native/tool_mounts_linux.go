package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// showTools shows the person's tools at the same paths as outside. Directories are writable in there without changing
// the host's, by an overlay; single files, and directories where the kernel or the file system cannot do that, are
// read-only.
func (b *Boot) showTools(t tree) error {
	for i, tool := range b.Spec.Tools {
		fd, err := b.Tools[i].open()
		if err != nil {
			return err
		}
		err = t.showTool(fd, tool.Path, filepath.Join(b.Spec.Dir, layersDir, strconv.Itoa(i)))
		unix.Close(fd)
		if err != nil {
			return err
		}
		for _, masked := range tool.Mask {
			if err := b.mask(t, tool.Path, strings.TrimPrefix(masked, tool.Path+"/")); err != nil {
				return err
			}
		}
	}
	return nil
}

// showTool shows what fd refers to at p. Changes go to the folder layer, if it is a directory.
func (t tree) showTool(fd int, p, layer string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		t.overlay(p, fd, filepath.Join(layer, "upper"), filepath.Join(layer, "work")) == nil {
		return nil
	}
	return t.bind(fd, p, readOnly)
}

// overlay mounts the directory that lower refers to at p such that changes go to the host directory upper. work is an
// empty directory beside it, for the kernel.
func (t tree) overlay(p string, lower int, upper, work string) error {
	fd, err := t.reach(p, true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return overlayAt(fd, lower, upper, work)
}

// overlayAt is overlay for a directory that target refers to.
func overlayAt(target, lower int, upper, work string) error {
	var fds [2]int
	for i, dir := range []string{upper, work} {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	// Descriptors need no escaping and keep host paths out of the mount table. userxattr is what an ordinary user
	// may use and what root in a user namespace must (overlayfs documentation, Linux 5.11).
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", procFD(lower), procFD(fds[0]), procFD(fds[1]))
	if err := unix.Mount("overlay", procFD(target), "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return &fs.PathError{Op: "mount overlay", Path: pathOf(target), Err: err}
	}
	return nil
}

// mask covers name in the directory top, links followed as long as they stay in it. What is not there, or behind a
// link that leads out of top, is not visible anyway.
func (b *Boot) mask(t tree, top, name string) error {
	dir, err := t.reach(top, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return &fs.PathError{Op: "mask", Path: filepath.Join(top, name), Err: err}
	}
	defer unix.Close(fd)
	return b.cover(fd)
}

// cover mounts something empty over what fd refers to.
func (b *Boot) cover(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	over := emptyFile
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		over = emptyDir
	}
	if err := unix.Mount(filepath.Join(b.scratch, over), procFD(fd), "", unix.MS_BIND, ""); err != nil {
		return &fs.PathError{Op: "mask", Path: pathOf(fd), Err: err}
	}
	return nil
}

func pathOf(fd int) string {
	p, err := os.Readlink(procFD(fd))
	if err != nil {
		return "?"
	}
	return p
}
