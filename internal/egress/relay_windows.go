package egress

import (
	"errors"
	"net"

	"golang.org/x/sys/windows"
)

// reader reads from one source.
type reader struct{}

// pass waits for something to read, and writes it to dst. The error is io.EOF at the end.
func (reader) pass(dst, src net.Conn) (int64, error) { return passPlain(dst, src) }

// notConnected reports whether shutdown failed because the other end is gone already.
func notConnected(err error) bool { return errors.Is(err, windows.WSAENOTCONN) }
