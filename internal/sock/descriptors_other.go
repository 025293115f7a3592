//go:build !unix

package sock

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// ErrDescriptors says that this system cannot pass descriptors.
var ErrDescriptors = errors.New("descriptors cannot be passed on this system")

// A Receiver reads bytes from a unix socket.
type Receiver struct{ *net.UnixConn }

// NewReceiver returns a Receiver whose first byte is the next that comes from uc, which stays the caller's.
func NewReceiver(uc *net.UnixConn) *Receiver { return &Receiver{uc} }

// Position counts what was read, where that matters.
func (*Receiver) Position() int64 { return 0 }

// Claim takes descriptors, of which there are none.
func (*Receiver) Claim(n int, _ int64) ([]int, error) {
	if n > 0 {
		return nil, ErrDescriptors
	}
	return nil, nil
}

// Discard closes descriptors, of which there are none.
func (*Receiver) Discard() {}

// Send cannot pass descriptors.
func Send(*net.UnixConn, []byte, ...*os.File) error { return ErrDescriptors }

// WriteNow would have to wait on this system.
func WriteNow(syscall.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Raw is a descriptor, of which there are none.
type Raw int

// Close closes it.
func (Raw) Close() error { return errors.ErrUnsupported }

// WriteNow would have to wait on this system.
func (Raw) WriteNow([]byte) (int, error) { return 0, errors.ErrUnsupported }
