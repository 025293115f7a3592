package line

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"moat/internal/sock"
)

// source is the incoming stream with what came beside it.
type source interface {
	io.Reader
	// Claim takes the first n descriptors and closes the others that arrived before byte end of the stream.
	Claim(n int, end int64) ([]int, error)
	// Discard closes all descriptors that nobody claimed; more are closed as they arrive.
	Discard()
}

// newSource returns nc as a source. Descriptors arrive only over a unix socket.
func newSource(nc net.Conn) source {
	if uc, ok := nc.(*net.UnixConn); ok {
		return sock.NewReceiver(uc)
	}
	return plainSource{nc}
}

// A plainSource is a stream that carries bytes only.
type plainSource struct{ io.Reader }

func (plainSource) Claim(n int, _ int64) ([]int, error) {
	if n > 0 {
		return nil, ErrNoFiles
	}
	return nil, nil
}

func (plainSource) Discard() {}

// attachFiles gives a Files message its descriptors, and closes those that came without one.
func (c *Conn) attachFiles(m Message) (Message, error) {
	files, ok := m.(Files)
	fds, err := c.in.Claim(len(files.Names), c.pos)
	if err != nil || !ok {
		return m, invalidFiles(err)
	}
	for i, fd := range fds {
		files.Files = append(files.Files, os.NewFile(uintptr(fd), files.Names[i]))
	}
	return files, nil
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
	return invalidFiles(sock.Send(uc, data, m.Files...))
}

// invalidFiles makes an error that is the peer's fault, or the caller's, one of this package.
func invalidFiles(err error) error {
	if errors.Is(err, sock.ErrDescriptors) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}
