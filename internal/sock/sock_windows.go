package sock

import (
	"fmt"
	"net"
	"os"
)

func viaDescriptor(dir, _ string) (string, func(), error) {
	return "", nil, fmt.Errorf("%w: %s", ErrTooLong, dir)
}

// PeerUID cannot be told on Windows; access to the socket is what its folder's permissions allow. It answers the caller's own.
func PeerUID(*net.UnixConn) (int, error) { return os.Getuid(), nil }
