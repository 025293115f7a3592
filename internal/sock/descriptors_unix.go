//go:build unix

package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
)

// maxDescriptors is how many may have arrived that nobody has claimed. One message carries no more.
const maxDescriptors = 16

// ErrDescriptors says that other descriptors came with a message than those it names.
var ErrDescriptors = errors.New("the descriptors are not those of the message")

// A Receiver reads bytes from a unix socket and keeps the descriptors that come with them until they are claimed. Read
// and Claim are for one goroutine at a time, Discard for any.
//
// The kernel delivers descriptors with the read that returns the first byte of the message that carries them, and
// that read returns nothing of later messages (unix(7)); so whatever arrived in a read that ended before the end
// of a frame belongs to that frame or to an earlier one.
type Receiver struct {
	uc  *net.UnixConn
	oob []byte
	pos int64

	mu      sync.Mutex // guards:
	arrived []descriptor
	closed  bool
}

type descriptor struct {
	fd  int
	end int64 // where in the stream the read ended that brought it
}

// NewReceiver returns a Receiver whose first byte is the next that comes from uc, which stays the caller's.
func NewReceiver(uc *net.UnixConn) *Receiver {
	return &Receiver{uc: uc, oob: make([]byte, syscall.CmsgSpace(maxDescriptors*4))}
}

// Read implements io.Reader.
func (r *Receiver) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, oobn, _, _, err := r.uc.ReadMsgUnix(p, r.oob)
	n = max(n, 0)
	r.pos += int64(n)
	if oobn > 0 {
		if err := r.keep(r.oob[:oobn]); err != nil {
			return n, err
		}
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// Position is how much was read so far.
func (r *Receiver) Position() int64 { return r.pos }

// keep takes the descriptors of a control message, which already have the close-on-exec flag (ReadMsgUnix).
func (r *Receiver) keep(oob []byte) error {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: control message: %w", ErrDescriptors, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range msgs {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			continue // of another kind: nothing to own in it
		}
		for _, fd := range fds {
			r.arrived = append(r.arrived, descriptor{fd, r.pos})
		}
	}
	if r.closed {
		r.closeArrived(0)
	}
	if len(r.arrived) > maxDescriptors {
		r.closeArrived(0)
		return fmt.Errorf("%w: over %d that nobody asked for", ErrDescriptors, maxDescriptors)
	}
	return nil
}

// closeArrived closes all descriptors but the first keep ones. The caller holds mu.
func (r *Receiver) closeArrived(keep int) {
	for _, d := range r.arrived[keep:] {
		_ = syscall.Close(d.fd)
	}
	r.arrived = r.arrived[:keep]
}

// Claim takes the first n descriptors, which are the caller's from then on, and closes the others that arrived before
// byte end of what was read since NewReceiver.
func (r *Receiver) Claim(n int, end int64) ([]int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.arrived) == 0 && n == 0 {
		return nil, nil
	}
	due := 0 // how many of them belong to frames up to this one
	for due < len(r.arrived) && r.arrived[due].end <= end {
		due++
	}
	// The frame's own may have come with a read that went past its end, into plain bytes behind it.
	own := max(due, min(n, len(r.arrived)))
	if own < n {
		return nil, fmt.Errorf("%w: %d were named and %d came", ErrDescriptors, n, own)
	}
	var fds []int
	for i, d := range r.arrived[:own] {
		if i < n {
			fds = append(fds, d.fd)
		} else {
			_ = syscall.Close(d.fd)
		}
	}
	r.arrived = slices.Delete(r.arrived, 0, own)
	return fds, nil
}

// Discard closes all descriptors that nobody claimed; more are closed as they arrive.
func (r *Receiver) Discard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.closeArrived(0)
}

// Send writes data with files beside it, which stay the caller's.
func Send(uc *net.UnixConn, data []byte, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDescriptors, err)
		}
		// Control only lends the number, but the caller keeps its files open until Send returns.
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return fmt.Errorf("%w: %w", ErrDescriptors, err)
		}
	}
	n, _, err := uc.WriteMsgUnix(data, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(data) {
		_, err = uc.Write(data[n:])
	}
	return err
}

// WriteNow writes as much of b as is taken without waiting, which may be nothing.
func WriteNow(c syscall.Conn, b []byte) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	var n int
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		n, werr = syscall.Write(int(fd), b)
		return true
	})
	if err == nil && !errors.Is(werr, syscall.EAGAIN) && !errors.Is(werr, syscall.EINTR) {
		err = werr
	}
	if err != nil {
		return max(n, 0), fmt.Errorf("write: %w", err)
	}
	return max(n, 0), nil
}

// Raw is a descriptor that does not block, kept away from the runtime's poller, which is woken by everything that happens
// to a file that it watches.
type Raw int

// Close closes it.
func (r Raw) Close() error { return syscall.Close(int(r)) }

// WriteNow writes as much of b as is taken without waiting, which may be nothing.
func (r Raw) WriteNow(b []byte) (int, error) {
	n, err := syscall.Write(int(r), b)
	if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
		return max(n, 0), fmt.Errorf("write: %w", err)
	}
	return max(n, 0), nil
}
