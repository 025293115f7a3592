//go:build unix

package sock

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Share returns a descriptor of the listening socket for other processes. Unlike the listener's own File, it may be handed on
// without the listener becoming one that blocks: whether they block is a property that both share (fcntl(2), O_NONBLOCK).
// The caller closes it.
func Share(l *net.UnixListener) (*os.File, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("share socket: %w", err)
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, fmt.Errorf("share socket: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("share socket: %w", dupErr)
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}
