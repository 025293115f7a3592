package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of one name in an archive. Linux takes 4095 bytes (PATH_MAX) and 255 in a component (NAME_MAX); trees that are deeper
// than any honest one are hard to remove again.
const (
	maxName  = 4095
	maxDepth = 256
)

// Names that mean something else than a file (OCI image specification, "layer.md", Whiteouts; aufs keeps more of its own).
const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// opaqueAttr makes a directory hide what is below it (overlayfs documentation, with the mount option userxattr).
const opaqueAttr = "user.overlay.opaque"

// unpacked is what became of a layer.
type unpacked struct {
	bytes, entries int64
	opaque         bool // the layer hides all below it
}

// unpacker makes the files of one layer in one folder.
//
// Everything is done relative to descriptors of directories, which are reached as chroot(2) would, so that no name and no link of
// the archive leads out of the folder. Nobody else writes in it meanwhile.
type unpacker struct {
	root   int // the layer's folder
	budget *budget
	done   unpacked

	last   string // the directory that lastFD is of: most entries lie in that of the one before
	lastFD int    // -1: none
	times  []dirTime
	named  int // bytes of the names in times
	room   int64
	buf    []byte
}

// dirTime is when a directory was changed: to be set when nothing is made in it any more.
type dirTime struct {
	name string
	at   time.Time
}

// maxTimes bounds the memory for names of directories, in bytes. Those beyond it keep the time of unpacking.
const maxTimes = 64 << 20

// unpack makes the files of the tar archive r in the empty directory that root refers to. It reads r up to the archive's end and
// not beyond. On error the directory holds anything.
func unpack(ctx context.Context, r io.Reader, root int, b *budget) (unpacked, error) {
	u := &unpacker{root: root, budget: b, lastFD: -1, buf: make([]byte, 256<<10)}
	defer u.forget()
	archive := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return u.done, err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return u.done, u.setTimes()
		}
		if err != nil {
			return u.done, archiveError(err)
		}
		if err := u.entry(h, archive); err != nil {
			return u.done, fmt.Errorf("unpack %q: %w", shorten(h.Name), err)
		}
	}
}

// archiveError tells an archive that is none from one that could not be read to its end.
func archiveError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return hostile("a layer is not a tar archive: %w", err)
	}
	return err
}

// shorten bounds what a message takes of an archive.
func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// entry makes one file. What is neither a file, a directory nor a link, or means nothing in a sandbox (devices: it has its own), is
// left out.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	u.done.entries++
	if err := u.budget.spend(0, 1); err != nil {
		return err
	}
	if u.done.entries&0xfff == 0 {
		if err := u.checkRoom(); err != nil {
			return err
		}
	}
	if name == "." {
		return nil // the root's own mode is the runtime's
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if strings.HasPrefix(base, whiteout) {
		return u.whiteOut(dir, base)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo:
	default:
		return nil
	}
	parent, err := u.enter(dir)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(parent, name, base, h)
	case tar.TypeSymlink:
		err = u.make(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	case tar.TypeFifo:
		err = u.make(parent, base, func() error { return unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0) })
		if err == nil {
			err = unix.Fchmodat(parent, base, fileMode(h), 0)
		}
	case tar.TypeLink:
		return u.hardLink(parent, base, h.Linkname) // it has the times of what it is linked to
	default:
		err = u.file(parent, base, h, content)
	}
	if err != nil {
		return err
	}
	return setTime(parent, base, h.ModTime)
}

// cleanName is a name in an archive relative to the root, "." for the root itself. It does not lead out.
func cleanName(name string) (string, error) {
	if len(name) > maxName || strings.Contains(name, "\x00") {
		return "", hostile("the name has %d bytes or a NUL", len(name))
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", hostile("the name leads out of the image")
	}
	if strings.Count(clean, "/") >= maxDepth {
		return "", hostile("it lies more than %d directories deep", maxDepth)
	}
	return clean, nil
}

// Modes on disk. The owner inside is always the one user that there is, whom no capability helps over modes; what honest
// archives have of set-user-id programs has no effect in a sandbox.
func fileMode(h *tar.Header) uint32 { return uint32(h.Mode)&0o777 | 0o600 }
func dirMode(h *tar.Header) uint32  { return uint32(h.Mode)&0o1777 | 0o700 }

// make calls do, which makes base, and once more when what was there is removed: the later of two entries counts.
func (u *unpacker) make(parent int, base string, do func() error) error {
	err := do()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.remove(parent, base); err != nil {
		return err
	}
	return do()
}

// directory makes a directory, or goes on with one that is there.
func (u *unpacker) directory(parent int, name, base string, h *tar.Header) error {
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		err = u.turnIntoDir(parent, base)
	}
	if err != nil {
		return err
	}
	if u.named += len(name); u.named <= maxTimes {
		u.times = append(u.times, dirTime{name, h.ModTime})
	}
	return unix.Fchmodat(parent, base, dirMode(h), 0) // it is no link: nobody else is here
}

// turnIntoDir makes sure that base is a directory. One that takes the place of a whiteout hides what is below.
func (u *unpacker) turnIntoDir(parent int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	u.forgetBelow(parent)
	if err := unix.Unlinkat(parent, base, 0); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return err
	}
	if isWhiteout(st) {
		return hideBelow(parent, base)
	}
	return nil
}

func isWhiteout(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR }

// hideBelow makes the directory base opaque.
func hideBelow(parent int, base string) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, opaqueAttr, []byte("y"), 0); err != nil {
		return fmt.Errorf("the file system of moat's home takes no user attributes: %w", err)
	}
	return nil
}

// whiteOut hides what layers below have. What this layer has itself stays, whichever of them comes first.
func (u *unpacker) whiteOut(dir, base string) error {
	if base == whiteoutOpaque {
		return u.hideDir(dir)
	}
	name := strings.TrimPrefix(base, whiteout)
	switch {
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // aufs's own
	case name == "" || name == "." || name == "..":
		return hostile("a whiteout of %q", name)
	}
	parent, err := u.enter(dir)
	if err != nil {
		return err
	}
	err = unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return hideBelow(parent, name)
	}
	return nil
}

// hideDir makes a directory opaque, or the whole layer.
func (u *unpacker) hideDir(dir string) error {
	if dir == "." {
		u.done.opaque = true // overlayfs does not look at the attribute of a layer's root
		return nil
	}
	fd, err := u.enter(dir)
	if err != nil {
		return err
	}
	return hideBelow(fd, ".")
}

// hardLink makes another name of a file of the same layer.
func (u *unpacker) hardLink(parent int, base, target string) error {
	name, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	dir, err := u.open(path.Dir(name))
	if err != nil {
		return hostile("a hard link to %q, which is not in the layer: %w", shorten(target), err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return hostile("a hard link to %q, which is not in the layer: %w", shorten(target), err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFLNK {
		return hostile("a hard link to %q, which is no file", shorten(target))
	}
	var there unix.Stat_t
	if unix.Fstatat(parent, base, &there, unix.AT_SYMLINK_NOFOLLOW) == nil && there.Ino == st.Ino && there.Dev == st.Dev {
		return nil // to itself
	}
	return u.make(parent, base, func() error { return unix.Linkat(dir, path.Base(name), parent, base, 0) })
}

// file makes a regular file.
func (u *unpacker) file(parent int, base string, h *tar.Header, content io.Reader) error {
	var fd int
	err := u.make(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = u.copy(fd, content)
	if err == nil {
		err = unix.Fchmod(fd, fileMode(h))
	}
	return errors.Join(err, unix.Close(fd))
}

// roomEvery is how many bytes may be written until the file system is asked again how much room there is.
const roomEvery = 32 << 20

func (u *unpacker) copy(fd int, content io.Reader) error {
	for {
		n, err := content.Read(u.buf)
		if n > 0 {
			if err := u.spend(int64(n)); err != nil {
				return err
			}
		}
		for rest := u.buf[:n]; len(rest) > 0; {
			w, err := unix.Write(fd, rest)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			rest = rest[max(w, 0):]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) spend(n int64) error {
	if err := u.budget.spend(n, 0); err != nil {
		return err
	}
	u.done.bytes += n
	if u.room -= n; u.room > 0 {
		return nil
	}
	u.room = roomEvery
	return u.checkRoom()
}

// errNoRoom is returned before the disk is full: others need some of it, among them the runs that live.
var errNoRoom = errors.New("not enough room")

// checkRoom sees to it that some of the file system stays free.
func (u *unpacker) checkRoom() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(u.root, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < u.budget.limits.Free {
		return fmt.Errorf("%w: %d MB are free where images are kept, %d MB must stay free", errNoRoom, free>>20, u.budget.limits.Free>>20)
	}
	if st.Files > 0 && st.Ffree < 10_000 {
		return fmt.Errorf("%w: the file system for images takes only %d more files", errNoRoom, st.Ffree)
	}
	return nil
}

// setTimes sets when directories were changed. One that was replaced by something else meanwhile is left alone.
func (u *unpacker) setTimes() error {
	for _, d := range u.times {
		dir, err := u.openStraight(path.Dir(d.name))
		if err != nil {
			continue
		}
		err = setTime(dir, path.Base(d.name), d.at)
		unix.Close(dir)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// setTime sets when base was changed, and does not follow it.
func setTime(parent int, base string, at time.Time) error {
	ts, err := unix.TimeToTimespec(at)
	if err != nil { // no time that a clock could have shown
		return nil
	}
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
