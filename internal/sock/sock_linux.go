package sock

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// viaDescriptor names the socket through the folder's descriptor: /proc/self/fd/N is a link to the folder itself (proc(5)).
func viaDescriptor(dir, name string) (string, func(), error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open %s: %w", dir, err)
	}
	addr := fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	return addr, func() { unix.Close(fd) }, nil
}

// PeerUID returns the user id of the process that made the connection (SO_PEERCRED, unix(7)).
func PeerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer of connection: %w", err)
	}
	var cred *unix.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("peer of connection: %w", err)
	}
	if optErr != nil {
		return 0, fmt.Errorf("peer of connection: %w", optErr)
	}
	return int(cred.Uid), nil
}
