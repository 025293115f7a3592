package egress

import (
	"errors"
	"net"

	"golang.org/x/sys/windows"
)

// reader reads from one connection.
type reader struct {
	conn net.Conn
	buf  [4 << 10]byte
}

func newReader(conn net.Conn) *reader { return &reader{conn: conn} }

// read waits for bytes and returns them; they are valid until release. If there are none the error says why.
func (r *reader) read() ([]byte, error) {
	n, err := r.conn.Read(r.buf[:])
	if n > 0 {
		err = nil
	}
	return r.buf[:n], err
}

func (*reader) release() {}

// notConnected reports whether shutdown failed because the other end is gone already.
func notConnected(err error) bool { return errors.Is(err, windows.WSAENOTCONN) }
