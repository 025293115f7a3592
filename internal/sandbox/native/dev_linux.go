package native

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ttyGroup is the group that owns terminals on Linux systems (devpts mount option gid=5).
const ttyGroup = 5

// makeDev makes a /dev with the harmless devices and a terminal multiplexer of its own.
func (b *Boot) makeDev(t tree) error {
	if err := t.mount("/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := t.bindPath("/dev/"+name, "/dev/"+name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	if err := t.mountPTS(); err != nil {
		return err
	}
	if err := t.mount("/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=64m"); err != nil {
		return err
	}
	for name, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd",
		"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := unix.Symlinkat(to, t.root, "dev/"+name); err != nil {
			return &fs.PathError{Op: "link", Path: "/dev/" + name, Err: err}
		}
	}
	return t.seal("/dev")
}

// mountPTS mounts a devpts instance that shares no terminal with the host's. The group exists only where all groups
// are mapped.
func (t tree) mountPTS() error {
	options := "newinstance,ptmxmode=0666,mode=0620"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
	err := t.mount("/dev/pts", "devpts", flags, fmt.Sprintf("%s,gid=%d", options, ttyGroup))
	if errors.Is(err, unix.EINVAL) {
		err = t.mount("/dev/pts", "devpts", flags, options)
	}
	return err
}
