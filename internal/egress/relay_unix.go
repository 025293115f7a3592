//go:build unix

package egress

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// buffers are shared by all connections: thousands of idle ones hold none.
//
//nolint:gochecknoglobals // a pool is of use only if everybody shares it
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// reader reads from one connection, and holds a buffer only between a read and the release that follows it.
type reader struct {
	conn net.Conn
	raw  syscall.RawConn // nil if the connection is no socket
	buf  *[bufferSize]byte
}

func newReader(conn net.Conn) *reader {
	r := &reader{conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			r.raw = raw
		}
	}
	return r
}

// read waits for bytes and returns them; they are valid until release, which must follow. If there are none, nothing is
// held, and the error says why: io.EOF at the end.
func (r *reader) read() (data []byte, err error) {
	var n int
	if r.raw == nil {
		if w, ok := r.conn.(interface{ Await() error }); ok { // a connection that was carried
			if err := w.Await(); err != nil {
				return nil, err
			}
		}
		r.buf = buffers.Get().(*[bufferSize]byte)
		n, err = r.conn.Read(r.buf[:])
	} else {
		n, err = r.readRaw()
	}
	if n > 0 {
		return r.buf[:n], nil
	}
	r.release()
	if err == nil {
		err = io.EOF
	}
	return nil, err
}

// readRaw takes a buffer for each try to read: while it waits there is none.
func (r *reader) readRaw() (n int, err error) {
	waited := r.raw.Read(func(fd uintptr) bool {
		r.buf = buffers.Get().(*[bufferSize]byte)
		n, err = unix.Read(int(fd), r.buf[:])
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Read(int(fd), r.buf[:])
		}
		if !errors.Is(err, unix.EAGAIN) {
			return true
		}
		r.release()
		return false
	})
	if waited != nil {
		return 0, waited
	}
	if err != nil {
		return 0, os.NewSyscallError("read", err)
	}
	return n, nil
}

func (r *reader) release() {
	if r.buf != nil {
		buffers.Put(r.buf)
		r.buf = nil
	}
}

// notConnected reports whether shutdown(2) failed because the other end is gone already.
func notConnected(err error) bool { return errors.Is(err, unix.ENOTCONN) }
