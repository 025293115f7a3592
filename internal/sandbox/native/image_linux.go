package native

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// hasImage tells whether the sandbox has the files of an image instead of the host's.
func hasImage(spec sandbox.Spec) bool { return spec.Image.Ref != "" }

// rootLayer is where the changes to an image go, in layersDir.
const rootLayer = "root"

// mountImage stacks the layers of the image at the host directory root. What is written goes to the sandbox's folder.
func (b *Boot) mountImage(root string) error {
	lower := []string{filepath.Join(b.scratch, emptyDir)}
	if len(b.Spec.Image.Layers) > 0 {
		lower = slices.Clone(b.Spec.Image.Layers)
		slices.Reverse(lower) // overlayfs wants the upper ones first
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	layer := filepath.Join(b.Spec.Dir, layersDir, rootLayer)
	var names []string
	for _, dir := range append(lower, filepath.Join(layer, "upper"), filepath.Join(layer, "work")) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		fds, names = append(fds, fd), append(names, procFD(fd))
	}
	n := len(lower)
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", strings.Join(names[:n], ":"), names[n], names[n+1])
	err := unix.Mount("overlay", root, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
	if err != nil {
		return fmt.Errorf("overlay of %d layers (the file system of moat's home must be able to hold one's changes): %w", n, err)
	}
	return nil
}

// furnish makes, in the image's files, what a sandbox needs of its own: the directories on which something will be mounted, and
// files of /etc. Nothing else is mounted yet, so that whatever links the image has, all of it lands in the sandbox's folder.
func (b *Boot) furnish(t tree) error {
	for _, dir := range []string{"/proc", "/dev", "/sys", "/etc", sandbox.WorkspaceDir} {
		if err := t.makeWay(dir); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]uint32{"/tmp": 0o1777, "/var/tmp": 0o1777, b.Spec.User.Home: 0o700, b.Spec.Image.Dir: 0o755} {
		if err := t.makeMissing(dir, mode); err != nil {
			return err
		}
	}
	files, err := b.imageEtc(t)
	if err != nil {
		return err
	}
	if err := t.replaceAll(files); err != nil {
		return err
	}
	return b.keepHome(t)
}

// imageEtc returns the files of /etc that are made for the sandbox. The image's accounts stay, and so does how it looks names up.
func (b *Boot) imageEtc(t tree) (map[string][]byte, error) {
	files := etcFiles(b.Spec)
	has := func(name string) []byte { return t.readInImage(path.Join("/etc", name)) }
	if has("nsswitch.conf") != nil {
		delete(files, "nsswitch.conf")
	}
	u := b.Spec.User
	if old := has("passwd"); old != nil {
		files["passwd"] = addAccount(old, 2, u.UID, fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", accountName(u), u.UID, u.GID, u.Home))
	}
	if old := has("group"); old != nil {
		files["group"] = addAccount(old, 2, u.GID, fmt.Sprintf("%s:x:%d:", accountName(u), u.GID))
	}
	return files, nil
}

// trustInImage puts the roots to trust in the place of the image's.
func (b *Boot) trustInImage(t tree) error {
	files := map[string][]byte{}
	has := func(place string) bool { return t.readInImage(path.Join("/etc", place)) != nil }
	if err := addTrust(files, b.Spec.TrustFile, has); err != nil {
		return err
	}
	if err := addKnownHosts(files, b.Spec.KnownHostsFile); err != nil {
		return err
	}
	return t.replaceAll(files)
}

// replaceAll makes files of /etc.
func (t tree) replaceAll(files map[string][]byte) error {
	for name, content := range files {
		if err := t.replaceInImage(path.Join("/etc", name), content); err != nil {
			return err
		}
	}
	return nil
}

// keepHome lets what is written in the home go to the place where homes are kept after a run. Where that cannot be, or where the
// account has no home of its own, it goes the way of all changes.
func (b *Boot) keepHome(t tree) error {
	if slices.Contains([]string{"/", "/etc", "/dev", "/proc", "/sys", "/tmp", sandbox.WorkspaceDir}, b.Spec.User.Home) {
		return nil
	}
	fd, err := t.inImage(b.Spec.User.Home, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	_ = overlayAt(fd, fd, filepath.Join(b.Spec.Dir, homeDir), filepath.Join(b.Spec.Dir, layersDir, homeDir))
	return nil
}

// addAccount adds a line to a passwd or group file unless one has the id, in the field of that number.
func addAccount(old []byte, field, id int, line string) []byte {
	for have := range bytes.Lines(old) {
		if f := strings.Split(string(have), ":"); len(f) > field && f[field] == strconv.Itoa(id) {
			return old
		}
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(old, '\n')
	}
	return append(old, line+"\n"...)
}

// makeWay makes the directory p, and puts directories in the place of what else the image has on the way to it.
func (t tree) makeWay(p string) error {
	for done := range ancestors(p) {
		dir, err := t.reach(path.Dir(done), true)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Fstatat(dir, path.Base(done), &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.Unlinkat(dir, path.Base(done), 0)
		}
		unix.Close(dir)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "make way for", Path: done, Err: err}
		}
	}
	fd, err := t.reach(p, true)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// ancestors yields the paths to p, the highest first, and p.
func ancestors(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range p {
			if i > 0 && c == '/' && !yield(p[:i]) {
				return
			}
		}
		yield(p)
	}
}

// makeMissing makes the directory p, unless the image has something there or a link on the way. Some accounts have a home that is
// meant not to exist.
func (t tree) makeMissing(p string, mode uint32) error {
	if p == "" || p == "/nonexistent" {
		return nil
	}
	if fd, err := t.inImage(p, unix.O_PATH); err == nil {
		return unix.Close(fd)
	}
	err := t.makeDir(p, mode)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// inImage opens what the image has at p, links followed as they will be inside. What is mounted over the image is not entered.
func (t tree) inImage(p string, flags uint64) (int, error) {
	return unix.Openat2(t.root, strings.TrimPrefix(path.Clean(p), "/"), &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// maxImageFile bounds what is read of an image, in bytes.
const maxImageFile = 1 << 20

// readInImage returns what a regular file of the image begins with; nil if there is none.
func (t tree) readInImage(p string) []byte {
	fd, err := t.inImage(p, unix.O_RDONLY|unix.O_NONBLOCK) // it may be a fifo
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxImageFile))
	if err != nil {
		return nil
	}
	return append([]byte{}, data...)
}

// replaceInImage makes a file in the place of what the image has there, if only a link: that is not followed, those on the way are.
func (t tree) replaceInImage(p string, content []byte) error {
	dir, err := t.inImage(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		if err := t.makeWay(path.Dir(p)); err != nil {
			return err
		}
		if dir, err = t.reach(path.Dir(p), true); err != nil {
			return err
		}
	}
	defer unix.Close(dir)
	err = unix.Unlinkat(dir, path.Base(p), 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(dir, path.Base(p), unix.AT_REMOVEDIR)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "replace", Path: p, Err: err}
	}
	return tree{dir}.write("/"+path.Base(p), content, 0o644)
}
