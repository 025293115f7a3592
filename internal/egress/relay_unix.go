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

// reader reads from one source.
type reader struct{ raw syscall.RawConn }

// pass waits for something to read, and writes it to dst. The error is io.EOF at the end.
func (r *reader) pass(dst, src net.Conn) (int64, error) {
	sc, ok := src.(syscall.Conn)
	if !ok {
		return passPlain(dst, src)
	}
	if r.raw == nil {
		raw, err := sc.SyscallConn()
		if err != nil {
			return 0, err
		}
		r.raw = raw
	}
	var buf *[bufferSize]byte
	var n int
	var failed error
	err := r.raw.Read(func(fd uintptr) bool {
		buf = buffers.Get().(*[bufferSize]byte)
		for {
			n, failed = unix.Read(int(fd), buf[:])
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		if errors.Is(failed, unix.EAGAIN) {
			buffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf != nil {
		defer buffers.Put(buf)
	}
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, os.NewSyscallError("read", failed)
	case n == 0:
		return 0, io.EOF
	}
	written, err := dst.Write(buf[:n])
	return int64(written), err
}

// notConnected reports whether shutdown(2) failed because the other end is gone already.
func notConnected(err error) bool { return errors.Is(err, unix.ENOTCONN) }
