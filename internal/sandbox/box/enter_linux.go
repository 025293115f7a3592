package box

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter makes of the calling process what runs for good: it puts the sandbox's own files into the image's, becomes the user
// that commands run as, and gives up what the guest alone was given. The door has been opened before. It must be the first
// process of a container.
func (b Boot) Enter() error {
	user, err := b.resolve(os.DirFS("/"))
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"files of /etc", func() error { return b.writeEtc(user) }},
		{"temporary directories", makeTemporary},
		{"directory of the image", func() error { return makeDir(b.Dir) }},
		{"home directory", func() error { return own(b.User.Home, user.uid, user.gid) }},
		{"capabilities", dropNetAdmin},
		{"number of processes", func() error { return limitProcesses(b.PIDs) }},
		{"new privileges", forbidPrivileges},
		{"core files", func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }},
		{"user", user.become},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// makeTemporary makes the directories that programs take for granted, where an image has none.
func makeTemporary() error {
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes the directory in which an image wants its command to start, as engines do.
func makeDir(path string) error {
	if path == "" {
		return nil
	}
	return os.MkdirAll(path, 0o755)
}

// limitProcesses holds for all processes of a user together, but for root's (getrlimit(2), RLIMIT_NPROC).
func limitProcesses(n int) error {
	if n == 0 {
		return nil
	}
	return unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)})
}

// forbidPrivileges lets no program give more of them than who starts it has, on every thread and for all that they start (prctl(2),
// PR_SET_NO_NEW_PRIVS). Engines do that themselves.
func forbidPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// own gives a directory to a user; what is in it is that user's already.
func own(path string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	return unix.Chown(path, uid, gid)
}

// dropNetAdmin gives up, on every thread and for all that they start, the power over the network: the door is open, and
// nothing inside may change it. It must not come back by executing something, so it leaves the bounding set first.
func dropNetAdmin() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0); errno != 0 {
		return fmt.Errorf("bounding set: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	for _, set := range []*uint32{&sets[0].Effective, &sets[0].Permitted, &sets[0].Inheritable} {
		*set &^= 1 << unix.CAP_NET_ADMIN
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
