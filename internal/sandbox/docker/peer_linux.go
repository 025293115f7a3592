package docker

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerPID returns the number of the process at the other end, as this process's namespace knows it; 0 if it does not
// (unix(7), SO_PEERCRED).
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if optErr != nil {
		return 0, fmt.Errorf("ask who the guest is: %w", optErr)
	}
	return int(cred.Pid), nil
}
