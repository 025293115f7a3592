package native

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// source is a host path that was looked at: the guest shows exactly this object, or nothing. A link that is put in its
// place, or in the way to it, after it was looked at, leads nowhere.
type source struct {
	Path string `json:"path"` // without links
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

// newBoot looks at everything on the host that spec wants to be seen.
func newBoot(spec sandbox.Spec) (Boot, error) {
	b := Boot{Spec: spec, Ordinary: os.Geteuid() != 0}
	if hasImage(spec) && spec.Image.Layers == nil {
		return b, fmt.Errorf("%w: the image %s is not in moat's home", sandbox.ErrSpec, spec.Image.Ref)
	}
	look := func(what, path string) (source, error) {
		s, err := newSource(path)
		if err == nil {
			err = s.checkAgainst(spec.Forbidden)
		}
		if err != nil {
			return s, fmt.Errorf("%s %s: %w", what, path, err)
		}
		return s, nil
	}
	var err error
	if b.Workspace, err = look("workspace", spec.Workspace); err != nil {
		return b, err
	}
	if fi, err := os.Stat(b.Workspace.Path); err != nil || !fi.IsDir() {
		return b, fmt.Errorf("workspace %s: %w", spec.Workspace, unix.ENOTDIR)
	}
	for _, m := range spec.Mounts {
		s, err := look("mount source", m.Source)
		if err != nil {
			return b, err
		}
		b.Mounts = append(b.Mounts, s)
	}
	for _, t := range spec.Tools {
		s, err := look("tool", t.Path)
		if err != nil {
			return b, err
		}
		b.Tools = append(b.Tools, s)
	}
	return b, nil
}

// newSource looks at path, following links: this once, they are the person's own wish.
func newSource(path string) (source, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return source{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return source{}, err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return source{}, fmt.Errorf("%w: neither a directory nor a regular file", sandbox.ErrSpec)
	}
	real, err := os.Readlink(procFD(fd))
	if err != nil {
		return source{}, err
	}
	return source{Path: real, Dev: st.Dev, Ino: st.Ino}, nil
}

// open returns a descriptor (O_PATH) of the object that was looked at.
func (s source) open() (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, s.Path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: s.Path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "stat", Path: s.Path, Err: err}
	}
	if st.Dev != s.Dev || st.Ino != s.Ino {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "open", Path: s.Path, Err: fmt.Errorf("was replaced by something else")}
	}
	return fd, nil
}

// checkAgainst refuses s if it contains one of the forbidden directories or lies in one. Directories are compared by
// what they are and not by name, so links and bind mounts change nothing.
func (s source) checkAgainst(forbidden []string) error {
	for _, dir := range forbidden {
		f, err := newSource(dir)
		if err != nil {
			continue // what does not exist cannot become visible
		}
		if below(s.Path, f) || below(f.Path, s) {
			return fmt.Errorf("%w: it would make %s visible inside", sandbox.ErrSpec, dir)
		}
	}
	return nil
}

// below reports whether path is top or lies below it.
func below(path string, top source) bool {
	for p := path; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil && st.Dev == top.Dev && st.Ino == top.Ino {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}
