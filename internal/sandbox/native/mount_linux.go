package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount attributes for things that come from the host or may hold what the sandbox writes.
const (
	tame     = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV // no setuid programs, no devices
	readOnly = tame | unix.MOUNT_ATTR_RDONLY
)

// tree is a directory under construction: everything is made in it by descriptor, link by link refused, so that what
// the sandbox or anybody else wrote there earlier cannot lead elsewhere.
type tree struct {
	root int // O_PATH
}

func openTree(dir string) (tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return tree{}, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return tree{fd}, nil
}

// reach returns a descriptor of the object at p, an absolute path in the tree. Missing directories are made, and at the
// end an empty file if dir is false. A link on the way is an error.
func (t tree) reach(p string, dir bool) (int, error) {
	fd, err := unix.Dup(t.root)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if path.Clean(p) == "/" {
		return fd, nil
	}
	names := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for i, name := range names {
		last := i == len(names)-1
		next, err := enter(fd, name, dir || !last)
		unix.Close(fd)
		if err != nil {
			return -1, &fs.PathError{Op: "make", Path: "/" + path.Join(names[:i+1]...), Err: err}
		}
		fd = next
	}
	return fd, nil
}

// enter opens name in the directory parent, and makes it if it is not there.
func enter(parent int, name string, dir bool) (int, error) {
	flags := unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if dir {
		flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat(parent, name, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if dir {
			err = unix.Mkdirat(parent, name, 0o755)
		} else {
			err = unix.Mknodat(parent, name, unix.S_IFREG|0o444, 0)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, err
		}
		fd, err = unix.Openat(parent, name, flags, 0)
	}
	if err != nil {
		return -1, err
	}
	if !dir { // O_PATH|O_NOFOLLOW opens a link itself
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
			unix.Close(fd)
			return -1, errors.Join(err, unix.ELOOP)
		}
	}
	return fd, nil
}

// mount makes the mountpoint p, a directory, and mounts a new file system there.
func (t tree) mount(p, fstype string, flags uintptr, options string) error {
	fd, err := t.reach(p, true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mount(fstype, procFD(fd), fstype, flags, options); err != nil {
		return &fs.PathError{Op: "mount " + fstype, Path: p, Err: err}
	}
	return nil
}

// bind makes what the descriptor src refers to visible at p, with everything that is mounted below it, and gives the
// mounts the attributes.
func (t tree) bind(src int, p string, attributes uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	fd, err := t.reach(p, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mount(procFD(src), procFD(fd), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &fs.PathError{Op: "bind", Path: p, Err: err}
	}
	return t.restrict(p, attributes, true)
}

// bindPath is bind for a path of the host.
func (t tree) bindPath(src, p string, attributes uint64) error {
	fd, err := unix.Open(src, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: src, Err: err}
	}
	defer unix.Close(fd)
	return t.bind(fd, p, attributes)
}

// restrict adds attributes to the mount at p, and to those below it if deep.
func (t tree) restrict(p string, attributes uint64, deep bool) error {
	fd, err := t.reach(p, false) // finds what is there, of whatever kind
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags := uint(unix.AT_EMPTY_PATH)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	err = unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: attributes})
	if errors.Is(err, unix.ENOSYS) {
		err = remount(fd, attributes, deep)
	}
	if err != nil {
		return &fs.PathError{Op: "restrict mount", Path: p, Err: err}
	}
	return nil
}

// remount does the work of mount_setattr(2) on kernels before 5.12.
func remount(fd int, attributes uint64, deep bool) error {
	top, err := os.Readlink(procFD(fd))
	if err != nil {
		return err
	}
	mounts, err := mountsBelow("/proc/self/mountinfo", top)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.point != top && !deep {
			continue
		}
		// Flags that a more privileged mount namespace set are locked, so they must be repeated (mount_namespaces(7)).
		flags := m.flags | unix.MS_REMOUNT | unix.MS_BIND | oldFlags(attributes)
		if err := unix.Mount("", m.point, "", flags, ""); err != nil {
			return fmt.Errorf("remount %s: %w", m.point, err)
		}
	}
	return nil
}

func oldFlags(attributes uint64) (flags uintptr) {
	for _, f := range mountFlags() {
		if attributes&f.attribute != 0 {
			flags |= f.flag
		}
	}
	return flags
}

// mountFlags are the per-mount options in their three spellings.
func mountFlags() []struct {
	option    string
	flag      uintptr
	attribute uint64
} {
	return []struct {
		option    string
		flag      uintptr
		attribute uint64
	}{
		{"ro", unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{"nosuid", unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{"nodev", unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{"noexec", unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{"noatime", unix.MS_NOATIME, 0},
		{"nodiratime", unix.MS_NODIRATIME, 0},
		{"relatime", unix.MS_RELATIME, 0},
	}
}

// mountPoint is one line of a mount table.
type mountPoint struct {
	point string
	flags uintptr
}

// mountsBelow reads the mounts at and below top from a proc_pid_mountinfo(5) file.
func mountsBelow(file, top string) ([]mountPoint, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []mountPoint
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		m := mountPoint{point: unescape.Replace(fields[4])}
		if m.point != top && !strings.HasPrefix(m.point, strings.TrimSuffix(top, "/")+"/") {
			continue
		}
		for _, f := range mountFlags() {
			for option := range strings.SplitSeq(fields[5], ",") {
				if option == f.option {
					m.flags |= f.flag
				}
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// procFD is a path of what the descriptor refers to. It needs the host's /proc, or the sandbox's.
func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
