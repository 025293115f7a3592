package journal

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// sendSize is how many bytes are sent with one system call: a goroutine in it cannot be interrupted.
const sendSize = 4 << 20

// sendRange copies with sendfile(2) if w is a file, pipe or terminal that can take it. It returns fewer than n bytes
// and no error where it cannot.
func sendRange(w io.Writer, src *os.File, off, n int64) (written int64, err error) {
	dst, ok := w.(*os.File)
	if !ok {
		return 0, nil
	}
	out, err := dst.SyscallConn()
	if err != nil {
		return 0, err
	}
	in, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sendErr error
	inErr := in.Control(func(srcFD uintptr) {
		err = out.Write(func(dstFD uintptr) (done bool) {
			for written < n {
				pos := off + written
				m, e := syscall.Sendfile(int(dstFD), int(srcFD), &pos, int(min(sendSize, n-written)))
				written += int64(max(0, m))
				switch {
				case e == syscall.EAGAIN:
					return false
				case e == syscall.EINTR:
				case e != nil, m == 0:
					sendErr = e
					return true
				}
			}
			return true
		})
	})
	if err := errors.Join(inErr, err); err != nil {
		return written, err
	}
	if sendErr == syscall.EINVAL || sendErr == syscall.ENOSYS || sendErr == syscall.EOVERFLOW {
		return written, nil // open for appending, or a kind of file that cannot: the plain way tells
	}
	return written, os.NewSyscallError("sendfile", sendErr)
}
