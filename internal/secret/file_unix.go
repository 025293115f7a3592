//go:build unix

package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNoFollow refuses a link, and does not wait for the other end of a pipe.
const openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK

// lockWhole waits for the lock of an open file: flock(2), which the kernel drops with the last descriptor.
func lockWhole(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// private checks that only this user has access.
func private(path string, info fs.FileInfo) error {
	quoted := "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return &PermissionError{Path: path, Fix: "sudo chown " + strconv.Itoa(os.Geteuid()) + " " + quoted}
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		want := fs.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		return &PermissionError{Path: path, Mode: mode, Fix: fmt.Sprintf("chmod %o %s", want, quoted)}
	}
	return nil
}
