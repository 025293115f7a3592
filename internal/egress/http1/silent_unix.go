//go:build unix

package http1

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// silent reports whether nothing has come on a socket, its end neither.
func silent(socket syscall.RawConn) bool {
	quiet := false
	err := socket.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
}
