package native

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockDown gives up, on the calling thread, everything that the second image and the commands must not have. exe is the
// program that will be executed.
func (b *Boot) lockDown(exe int) error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"limits", b.late.fallback.apply},
		{"capability bounding set", emptyBoundingSet},
		{"user", b.becomeUser},
		{"no new privileges", func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
		{"capabilities", dropCapabilities},
		{"landlock", func() error { return b.restrictFiles(exe) }},
		{"system call filter", filterSystemCalls},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	unix.Umask(b.umask)
	return nil
}

// emptyBoundingSet makes it impossible to gain a capability by executing something, and for user id 0 to mean anything
// (capabilities(7)).
func emptyBoundingSet() error {
	for c := uintptr(0); c <= 63; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel knows no more
		}
		if err != nil {
			return err
		}
	}
	const noroot, noSetuidFixup, keepCapsLocked, noAmbientRaise = 1 << 0, 1 << 2, 1 << 5, 1 << 6
	bits := noroot | noroot<<1 | noSetuidFixup | noSetuidFixup<<1 | keepCapsLocked | noAmbientRaise | noAmbientRaise<<1
	return unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits), 0, 0, 0)
}

// becomeUser changes to the user of the sandbox where that is not who we are: only root can start it as somebody else.
func (b *Boot) becomeUser() error {
	u := b.Spec.User
	if b.Ordinary && unix.Getuid() == u.UID && unix.Getgid() == u.GID {
		return nil
	}
	// Raw calls on purpose: Go's would change all threads, and all that counts is the one that executes.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("setresgid %d: %w", u.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setresuid %d: %w", u.UID, errno)
	}
	return nil
}

// dropCapabilities empties the ambient, effective, permitted and inheritable sets.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// filterSystemCalls installs the seccomp filter for the calling thread and what it executes.
func filterSystemCalls() error {
	_, err := installFilter(0)
	return err
}

// FilterProcess installs the seccomp filter for all threads of this process and all that they start, for the guest of a sandbox that
// somebody else makes, without one. They must have no_new_privs. An error that is ErrNoFilter is the kernel's.
func FilterProcess() error {
	thread, err := installFilter(unix.SECCOMP_FILTER_FLAG_TSYNC)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL): // seccomp(2): it was built without it
		return fmt.Errorf("%w: %w", ErrNoFilter, err)
	case err == nil && thread != 0:
		return fmt.Errorf("thread %d cannot get the system call filter", thread)
	}
	return err
}

// ErrNoFilter is returned where the kernel has no system call filters.
var ErrNoFilter = errors.New("the kernel has no system call filters")

func installFilter(flags uintptr) (thread uintptr, err error) {
	filter, err := buildFilter(systemCalls())
	if err != nil {
		return 0, err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, errno
	}
	return thread, nil
}
