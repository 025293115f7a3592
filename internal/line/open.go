package line

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// ErrProof is returned when a peer does not prove that it knows the run's secret: by Accept because the proof is
// wrong, by Open because the guest closed the connection after it.
var ErrProof = errors.New("line: the secret was not proven")

// A VersionError says that the two ends speak different versions of the protocol.
type VersionError struct {
	Ours, Theirs int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the other end of the line speaks version %d of its protocol, this moat speaks version %d", e.Theirs, e.Ours)
}

// Accept opens a line at the guest's end of nc: it returns when the peer has proven that it knows the secret.
// SendWelcome comes next. On error nc is closed.
func Accept(ctx context.Context, nc net.Conn, secret []byte) (*Conn, error) {
	return open(ctx, nc, hostSide, func(c *Conn) error { return c.challenge(secret) })
}

// Open opens a line at the host's end of nc and returns it together with what the guest says of its processes.
// Resume comes next, for each of them. On error nc is closed.
func Open(ctx context.Context, nc net.Conn, secret []byte) (*Conn, Welcome, error) {
	var w Welcome
	c, err := open(ctx, nc, guestSide, func(c *Conn) (err error) {
		w, err = c.prove(secret)
		return err
	})
	return c, w, err
}

// open runs a handshake that ends with the context or after ProofTimeout, and closes nc if it fails.
func open(ctx context.Context, nc net.Conn, peer side, handshake func(*Conn) error) (*Conn, error) {
	c := newConn(nc, peer)
	err := c.nc.SetDeadline(time.Now().Add(ProofTimeout))
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	if err == nil {
		err = handshake(c)
	}
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err == nil {
		err = c.nc.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open the line: %w", err)
	}
	c.proven = true
	return c, nil
}

func (c *Conn) challenge(secret []byte) error {
	if len(secret) < sha256.Size {
		return errors.New("the secret is too short")
	}
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	if err := c.Send(Hello{Version: Version, Nonce: nonce}); err != nil {
		return err
	}
	m, err := c.Next()
	if err != nil {
		return err
	}
	proof, ok := m.(Proof)
	switch {
	case !ok:
		return fmt.Errorf("%w: kind %q instead", ErrProof, m.Kind())
	case proof.Version != Version:
		return &VersionError{Ours: Version, Theirs: proof.Version}
	case !hmac.Equal(proof.MAC, mac(secret, nonce)):
		return ErrProof
	}
	return nil
}

func (c *Conn) prove(secret []byte) (Welcome, error) {
	m, err := c.Next()
	if err != nil {
		return Welcome{}, err
	}
	hello, ok := m.(Hello)
	if !ok {
		return Welcome{}, fmt.Errorf("%w: kind %q instead of a hello", ErrInvalid, m.Kind())
	}
	if hello.Version != Version {
		return Welcome{}, &VersionError{Ours: Version, Theirs: hello.Version}
	}
	if err := c.Send(Proof{Version: Version, MAC: mac(secret, hello.Nonce)}); err != nil {
		return Welcome{}, err
	}
	return c.welcome()
}

// welcome gathers the Welcome messages.
func (c *Conn) welcome() (Welcome, error) {
	var all Welcome
	for {
		m, err := c.Next()
		if err != nil {
			if len(all.Processes) == 0 && !errors.Is(err, os.ErrDeadlineExceeded) && isEnd(err) {
				err = fmt.Errorf("%w: %w", ErrProof, err)
			}
			return Welcome{}, err
		}
		w, ok := m.(Welcome)
		if !ok {
			return Welcome{}, fmt.Errorf("%w: kind %q instead of a welcome", ErrInvalid, m.Kind())
		}
		all.Processes = append(all.Processes, w.Processes...)
		if len(all.Processes) > MaxProcesses || w.More && len(w.Processes) == 0 {
			return Welcome{}, fmt.Errorf("%w: number of processes", ErrInvalid)
		}
		if !w.More {
			return all, nil
		}
	}
}

// isEnd reports whether an error means that the peer hung up.
func isEnd(err error) bool {
	var op *net.OpError // connection reset, which has another type on each system
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op)
}

func mac(secret, nonce []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(nonce)
	return h.Sum(nil)
}
