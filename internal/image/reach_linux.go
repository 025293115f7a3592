package image

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// enter returns a descriptor of the directory dir and makes it if it is not there. It belongs to u and is good until the next call.
func (u *unpacker) enter(dir string) (int, error) {
	if dir == "." {
		return u.root, nil
	}
	if u.lastFD >= 0 && u.last == dir {
		return u.lastFD, nil
	}
	fd, err := u.reach(dir)
	if err != nil {
		return -1, err
	}
	u.forget()
	u.last, u.lastFD = dir, fd
	return fd, nil
}

// forget closes the directory that is kept open. It must be called before directories are removed.
func (u *unpacker) forget() {
	if u.lastFD >= 0 {
		_ = unix.Close(u.lastFD) // O_PATH: nothing to lose
		u.lastFD = -1
	}
}

// reach is enter for a descriptor of the caller's own.
func (u *unpacker) reach(dir string) (int, error) {
	fd, err := u.open(dir)
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return fd, err
	}
	// Some archives leave directories out.
	parent, base := u.root, path.Base(dir)
	if up := path.Dir(dir); up != "." {
		if parent, err = u.reach(up); err != nil {
			return -1, err
		}
		defer unix.Close(parent)
	}
	if err := u.budget.spend(0, 1); err != nil {
		return -1, err
	}
	err = unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || !isWhiteout(st) {
			return -1, hostile("%q is no directory in the layer", shorten(dir))
		}
		err = u.turnIntoDir(parent, base)
	}
	if err != nil {
		return -1, err
	}
	if err := unix.Fchmodat(parent, base, 0o755, 0); err != nil {
		return -1, err
	}
	return unix.Openat(parent, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// open returns a descriptor of the directory dir, which is there. Links in the layer are followed as if its folder were the root
// of all files, as they will be inside: archives of real systems have some on the way to their files.
func (u *unpacker) open(dir string) (int, error) {
	fd, err := u.openStraight(dir)
	if !errors.Is(err, unix.ELOOP) {
		return fd, err
	}
	if fd, err = u.resolve(dir, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS); err != nil {
		return -1, err
	}
	// Links can make a tree deeper than any name tells.
	top, err := os.Readlink(fdPath(u.root))
	if err == nil {
		var here string
		if here, err = os.Readlink(fdPath(fd)); err == nil && strings.Count(here, "/")-strings.Count(top, "/") > maxDepth {
			err = hostile("links lead to a directory that is too deep")
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openStraight is open for a directory to which no link leads.
func (u *unpacker) openStraight(dir string) (int, error) {
	return u.resolve(dir, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
}

// resolveTries is how often openat2 is asked again: it gives up when anything on the machine is renamed or mounted while it follows
// a ".." (openat2(2), EAGAIN).
const resolveTries = 100

func (u *unpacker) resolve(dir string, how uint64) (int, error) {
	for range resolveTries {
		fd, err := unix.Openat2(u.root, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: how})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// remove removes base, of whatever kind.
func (u *unpacker) remove(parent int, base string) error {
	u.forgetBelow(parent)
	err := unix.Unlinkat(parent, base, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		// It does not follow base, and the folder is nobody else's.
		err = os.RemoveAll(path.Join(fdPath(parent), base))
	}
	return err
}

// forgetBelow forgets the directory that is kept open unless it is parent, in which something is about to be removed.
func (u *unpacker) forgetBelow(parent int) {
	if u.lastFD != parent {
		u.forget()
	}
}

// fdPath is a path of what the descriptor refers to.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
