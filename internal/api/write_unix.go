//go:build unix

package api

import (
	"errors"
	"net"
	"syscall"
)

// writeNow writes as much of b as the peer takes without being waited for.
func writeNow(conn net.Conn, b []byte) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		n, werr = syscall.Write(int(fd), b)
		return true
	})
	if err == nil && !errors.Is(werr, syscall.EAGAIN) && !errors.Is(werr, syscall.EINTR) {
		err = werr
	}
	return max(n, 0), err
}
