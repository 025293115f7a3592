package sock

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

func viaDescriptor(dir, _ string) (string, func(), error) {
	return "", nil, fmt.Errorf("%w: %s", ErrTooLong, dir)
}

// PeerUID returns the user id of the process that made the connection (LOCAL_PEERCRED, unix(4)).
func PeerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer of connection: %w", err)
	}
	var cred *unix.Xucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("peer of connection: %w", err)
	}
	if optErr != nil {
		return 0, fmt.Errorf("peer of connection: %w", optErr)
	}
	return int(cred.Uid), nil
}
