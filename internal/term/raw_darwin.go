package term

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)

// waitInput waits until in can be read (true), or wake (false). poll(2) does not work with terminals on macOS (its
// manual, BUGS); select(2) does.
func waitInput(in, wake int) (bool, error) {
	for {
		var fds unix.FdSet
		if max(in, wake) >= unix.FD_SETSIZE {
			return false, unix.EBADF
		}
		fds.Set(in)
		fds.Set(wake)
		_, err := unix.Select(max(in, wake)+1, &fds, nil, nil, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return !fds.IsSet(wake), err
	}
}
