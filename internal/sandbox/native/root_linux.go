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

	"moat/internal/sandbox"
)

// buildRoot makes the file system of the sandbox and leaves the host's. The steps are in the order in which things
// lie on top of each other.
func (b *Boot) buildRoot() error {
	// Nothing that is mounted from here on is seen outside, and nothing that is mounted outside is seen here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := b.makeScratch(); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	root := filepath.Join(b.scratch, "root")
	mount, steps := mountEmpty, b.hostSteps()
	if hasImage(b.Spec) {
		mount, steps = b.mountImage, b.imageSteps()
	}
	if err := mount(root); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	t, err := openTree(root)
	if err != nil {
		return err
	}
	defer unix.Close(t.root)
	for _, step := range steps {
		if err := step.do(t); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	// The second image's Boot must be written through the host's /proc: ours forbids it to look at itself later.
	if b.again, err = unix.Open(procFD(bootFD), unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return fmt.Errorf("open the boot pipe: %w", err)
	}
	return leaveHost(t, !hasImage(b.Spec))
}

// step is a part of building the root.
type step struct {
	name string
	do   func(tree) error
}

// hostSteps make a root of the host's system directories.
func (b *Boot) hostSteps() []step {
	return []step{
		{"system directories", showSystem},
		{"usual directories", b.makeUsual},
		{"/proc", b.makeProc},
		{"/dev", b.makeDev},
		{"private directories", b.makePrivate},
		{"tools", b.showTools},
		{"workspace", b.showWorkspace},
		{"mounts", b.showMounts},
		{"what is known late", b.awaitLate},
		{"/etc", b.makeEtc},
		{"scratch directory", b.sealScratch},
		{"the door", b.awaitDoor},
	}
}

// imageSteps make a root of an image.
func (b *Boot) imageSteps() []step {
	return []step{
		{"the image's files", b.furnish},
		{"/proc", b.makeProc},
		{"/dev", b.makeDev},
		{"workspace", b.showWorkspace},
		{"mounts", b.showMounts},
		{"what is known late", b.awaitLate},
		{"what is trusted", b.trustInImage},
		{"scratch directory", b.sealScratch},
		{"the door", b.awaitDoor},
	}
}

func (b *Boot) awaitLate(tree) (err error) {
	b.late, err = readLate()
	return err
}

func (b *Boot) awaitDoor(tree) error { return <-b.door }

// mountEmpty mounts a root in which there is nothing.
func mountEmpty(root string) error {
	return unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m")
}

// makeScratch mounts a small file system for the new root's mountpoint and for what is mounted inside it from nowhere
// else. It lies in the host's tree, so its name goes away with that; what was mounted from it stays.
func (b *Boot) makeScratch() error {
	b.scratch = filepath.Join(b.Spec.Dir, rootDir)
	if err := unix.Mount("tmpfs", b.scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4m"); err != nil {
		return err
	}
	for _, dir := range []string{"root", emptyDir, etcLayer} {
		if err := os.Mkdir(filepath.Join(b.scratch, dir), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(b.scratch, emptyFile), nil, 0o444)
}

// In the scratch directory.
const (
	emptyFile = "file" // to put over what must not be seen
	emptyDir  = "dir"
	etcLayer  = "etc"
)

// sealScratch makes it read-only wherever it is mounted.
func (b *Boot) sealScratch(tree) error {
	return unix.Mount("", b.scratch, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// leaveHost makes t the root and forgets the old one (pivot_root(2), "pivot_root(".", ".")"). The new one is read-only if seal.
func leaveHost(t tree, seal bool) error {
	if err := unix.Fchdir(t.root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if !seal {
		return nil
	}
	// The empty directories are not for writing: what the sandbox writes belongs on a disk, not in memory.
	now, err := openTree("/")
	if err != nil {
		return err
	}
	defer unix.Close(now.root)
	return now.seal("/")
}

// seal makes the one mount at p read-only.
func (t tree) seal(p string) error { return t.restrict(p, unix.MOUNT_ATTR_RDONLY, false) }

// showSystem shows the host's programs and libraries, read-only. On most systems /bin and the like are links into /usr.
func showSystem(t tree) error {
	dirs, err := filepath.Glob("/lib*")
	if err != nil {
		return err
	}
	for _, dir := range append(dirs, "/usr", "/opt", "/bin", "/sbin") {
		fi, err := os.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case fi.Mode().Type() == fs.ModeSymlink:
			err = copyLink(t, dir)
		case fi.IsDir():
			err = t.bindPath(dir, dir, readOnly)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyLink makes the same link as the host's.
func copyLink(t tree, path string) error {
	to, err := os.Readlink(path)
	if err != nil {
		return err
	}
	return unix.Symlinkat(to, t.root, strings.TrimPrefix(path, "/"))
}

// makeUsual makes the directories that programs expect to find, empty.
func (b *Boot) makeUsual(t tree) error {
	for _, dir := range []string{
		"/home", "/root", "/mnt", "/media", "/srv", "/sys", "/boot",
		"/var/cache", "/var/lib", "/var/local", "/var/log", "/var/mail", "/var/opt", "/var/spool",
	} {
		if err := t.makeDir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := t.mount("/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return err
	}
	if err := t.makeDir("/run/lock", 0o1777); err != nil {
		return err
	}
	user := "/run/user/" + strconv.Itoa(b.Spec.User.UID)
	if err := t.makeDir(user, 0o700); err != nil {
		return err
	}
	if err := t.own(user, b.Spec.User); err != nil {
		return err
	}
	for name, to := range map[string]string{"var/run": "/run", "var/lock": "/run/lock"} {
		if err := unix.Symlinkat(to, t.root, name); err != nil {
			return &fs.PathError{Op: "link", Path: "/" + name, Err: err}
		}
	}
	return nil
}

// makeDir makes a directory and those above it, and gives it the mode.
func (t tree) makeDir(p string, mode uint32) error {
	fd, err := t.reach(p, true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmodat(unix.AT_FDCWD, procFD(fd), mode, 0)
}

// own gives the object at p to the user inside.
func (t tree) own(p string, u sandbox.User) error {
	if u.UID == os.Geteuid() {
		return nil
	}
	fd, err := t.reach(p, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chown(procFD(fd), u.UID, u.GID)
}

// write makes a new file with the content.
func (t tree) write(p string, content []byte, mode uint32) error {
	dir, err := t.reach(filepath.Dir(p), true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, filepath.Base(p), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return &fs.PathError{Op: "create", Path: p, Err: err}
	}
	f := os.NewFile(uintptr(fd), p)
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// makePrivate shows the directories of the sandbox's folder that are the sandbox's own. They are on the disk and not in
// memory.
func (b *Boot) makePrivate(t tree) error {
	empty, err := unix.Open(filepath.Join(b.scratch, emptyDir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(empty)
	// The home comes last: it may be in a directory for temporary files.
	for _, private := range []struct{ dir, path string }{{tmpDir, "/tmp"}, {varTmpDir, "/var/tmp"}, {homeDir, b.Spec.User.Home}} {
		dir, p := private.dir, private.path
		upper := filepath.Join(b.Spec.Dir, dir)
		// An overlay of one directory is that directory, except that the mount table does not tell where it is on the
		// host. Where the file system cannot be part of an overlay, it tells.
		if t.overlay(p, empty, upper, filepath.Join(b.Spec.Dir, layersDir, dir)) == nil {
			continue
		}
		if err := t.bindPath(upper, p, tame); err != nil {
			return err
		}
	}
	return nil
}

func (b *Boot) showWorkspace(t tree) error {
	return b.show(t, b.Workspace, sandbox.WorkspaceDir, tame)
}

func (b *Boot) showMounts(t tree) error {
	for i, m := range b.Spec.Mounts {
		attributes := uint64(tame)
		if m.ReadOnly {
			attributes = readOnly
		}
		if err := b.show(t, b.Mounts[i], m.Target, attributes); err != nil {
			return err
		}
	}
	return nil
}

// show makes what was looked at visible at p.
func (b *Boot) show(t tree, s source, p string, attributes uint64) error {
	fd, err := s.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.bind(fd, p, attributes)
}
