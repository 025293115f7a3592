//go:build unix

package line

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
)

// newSource returns nc as a source. Descriptors arrive only over a unix socket.
func newSource(nc net.Conn) source {
	if uc, ok := nc.(*net.UnixConn); ok {
		return &unixSource{uc: uc, oob: make([]byte, syscall.CmsgSpace(MaxFiles*4))}
	}
	return plainSource{nc}
}

// A unixSource reads bytes and keeps the descriptors that come with them until they are claimed.
//
// The kernel delivers descriptors with the read that returns the first byte of the message that carries them, and
// that read returns nothing of later messages (unix(7)); so whatever arrived in a read that ended before the end
// of a frame belongs to that frame or to an earlier one.
type unixSource struct {
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

func (s *unixSource) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, oobn, _, _, err := s.uc.ReadMsgUnix(p, s.oob)
	n = max(n, 0)
	s.pos += int64(n)
	if oobn > 0 {
		if err := s.keep(s.oob[:oobn]); err != nil {
			return n, err
		}
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// keep takes the descriptors of a control message, which already have the close-on-exec flag (ReadMsgUnix).
func (s *unixSource) keep(oob []byte) error {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: control message: %w", ErrInvalid, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range msgs {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			continue // of another kind: nothing to own in it
		}
		for _, fd := range fds {
			s.arrived = append(s.arrived, descriptor{fd, s.pos})
		}
	}
	if s.closed {
		s.closeArrived(0)
	}
	if len(s.arrived) > MaxFiles {
		s.closeArrived(0)
		return fmt.Errorf("%w: over %d descriptors that nobody asked for", ErrInvalid, MaxFiles)
	}
	return nil
}

// closeArrived closes all descriptors but the first keep ones. The caller holds mu.
func (s *unixSource) closeArrived(keep int) {
	for _, d := range s.arrived[keep:] {
		_ = syscall.Close(d.fd)
	}
	s.arrived = s.arrived[:keep]
}

func (s *unixSource) claim(n int, end int64) (*claimed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.arrived) == 0 && n == 0 {
		return nil, nil
	}
	due := 0 // how many of them belong to frames up to this one
	for due < len(s.arrived) && s.arrived[due].end <= end {
		due++
	}
	// The frame's own may have come with a read that went past its end, into plain bytes behind it.
	own := max(due, min(n, len(s.arrived)))
	if own < n {
		return nil, fmt.Errorf("%w: %d files were named and %d came", ErrInvalid, n, own)
	}
	var got claimed
	for i, d := range s.arrived[:own] {
		if i < n {
			got.fds = append(got.fds, d.fd)
		} else {
			_ = syscall.Close(d.fd)
		}
	}
	s.arrived = slices.Delete(s.arrived, 0, own)
	return &got, nil
}

func (s *unixSource) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeArrived(0)
}

// claimed are descriptors that belong to the message that is being delivered.
type claimed struct{ fds []int }

func (c *claimed) open(names []string) []*os.File {
	files := make([]*os.File, len(c.fds))
	for i, fd := range c.fds {
		files[i] = os.NewFile(uintptr(fd), names[i])
	}
	return files
}

// sendFiles sends a Files message and its descriptors. The caller holds mu.
func (c *Conn) sendFiles(m Files) error {
	uc, ok := c.nc.(*net.UnixConn)
	if !ok {
		return ErrNoFiles
	}
	if len(m.Files) != len(m.Names) {
		return fmt.Errorf("%w: %d names for %d files", ErrInvalid, len(m.Names), len(m.Files))
	}
	data, _, err := encode(nil, m)
	if err != nil {
		return err
	}
	fds := make([]int, len(m.Files))
	for i, f := range m.Files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		// Control only lends the number, but the caller keeps its files open until Send returns.
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	n, _, err := uc.WriteMsgUnix(data, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(data) {
		_, err = uc.Write(data[n:])
	}
	return err
}
