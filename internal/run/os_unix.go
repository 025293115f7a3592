//go:build unix

package run

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// onFD calls do with f's descriptor, which stays open meanwhile and keeps its mode.
func onFD(f *os.File, do func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = do(fd) }); err != nil {
		return err
	}
	return inner
}

// inherited keeps a descriptor that came from the parent from going further to other children.
func inherited(f *os.File) error {
	return onFD(f, func(fd uintptr) error {
		_, err := unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC)
		return err
	})
}

// trusted says what makes a home unsafe to use: others who own it or may write to it.
func trusted(info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to another user (uid %d)", stat.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %#o); make it private with chmod 700", info.Mode().Perm())
	}
	return nil
}
