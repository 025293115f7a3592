package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"moat/internal/frame"
	"moat/internal/sock"
)

// Frames is what a connection is upgraded to (RFC 9110, 7.8) to carry a stream.
const Frames = "moat-frames"

// A Stream is one end of an attach or exec stream. One goroutine may receive (Next, Descriptors) while others send; Close
// may be called by any.
type Stream struct {
	conn net.Conn
	in   *sock.Receiver
	r    *frame.Reader
	pos  int64 // end of the frame that Next returned, in what in has read
	stop func() bool

	sending sync.Mutex // guards writing, and:
	out     []byte     // whole frames, and the rest of one, that are not written yet
	stall   time.Duration
	failure error // of an earlier write: what follows it would be read as something else
}

// NewStream makes a stream of a connection that was taken over, of which early was read already. The stream closes it.
func NewStream(conn *net.UnixConn, early []byte) *Stream {
	return newStream(conn, sock.NewReceiver(conn), early)
}

func newStream(conn *net.UnixConn, in *sock.Receiver, early []byte) *Stream {
	s := &Stream{conn: conn, in: in, stop: func() bool { return true }}
	s.pos = in.Position() - int64(len(early))
	s.r = frame.NewReader(&prefixed{early, in})
	return s
}

// prefixed reads early before what comes.
type prefixed struct {
	early []byte
	io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.early) > 0 {
		n := copy(b, p.early)
		p.early = p.early[n:]
		return n, nil
	}
	return p.Reader.Read(b)
}

// Attach opens an attach stream. The caller closes it. Cancelling ctx cuts it.
func (c *Client) Attach(ctx context.Context, a Attach) (*Stream, error) {
	return c.stream(ctx, "/v1/attach", KindAttach, Encode(a))
}

// Exec starts a command in the sandbox. The caller closes the stream, which hangs the command up if it still runs.
func (c *Client) Exec(ctx context.Context, e Exec) (*Stream, error) {
	return c.stream(ctx, "/v1/exec", KindExec, Encode(e))
}

// stream opens a connection of its own. The first frame is the request's body.
func (c *Client) stream(ctx context.Context, path string, kind byte, first []byte) (*Stream, error) {
	conn, err := sock.Dial(ctx, c.dir, SocketName)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	s, err := upgrade(conn, path, kind, first)
	if err != nil {
		stop()
		conn.Close()
		return nil, unreachable(ctx, err)
	}
	s.stop = stop
	return s, nil
}

// unreachable says why no supervisor has answered; an answer that is no stream stays what it is.
func unreachable(ctx context.Context, err error) error {
	var refused *StatusError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused), errors.Is(err, errVersion):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func upgrade(conn *net.UnixConn, path string, kind byte, first []byte) (*Stream, error) {
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: moat\r\n%s: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n",
		path, VersionHeader, Version, Frames, frame.Size(len(first)))
	if _, err := conn.Write(frame.Append(head, kind, first)); err != nil {
		return nil, err
	}
	from := sock.NewReceiver(conn) // a descriptor may follow the answer closely
	in := bufio.NewReader(from)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := checkAnswer(resp); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, &StatusError{Status: resp.StatusCode, Text: "the supervisor did not open a stream"}
	}
	early, err := in.Peek(in.Buffered())
	return newStream(conn, from, early), err
}

// AcceptStream makes a stream of a call that asks for one. Its first frame is that of the call. The caller closes it.
func AcceptStream(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	if r.Header.Get("Upgrade") != Frames {
		return nil, &StatusError{Status: http.StatusUpgradeRequired, Text: "a stream is an upgrade to " + Frames}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("take over the connection: a %T is no unix socket", conn)
	}
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		_, err = fmt.Fprintf(uc, "HTTP/1.1 101 Switching Protocols\r\n%s: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", VersionHeader, Version, Frames)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	return NewStream(uc, early), nil
}

// Next returns the next frame; its payload is valid until the next call. Any error means that
// the connection broke, or that the peer has closed it.
func (s *Stream) Next() (kind byte, payload []byte, err error) {
	kind, payload, err = s.r.Next()
	s.pos += frame.Size(len(payload))
	return kind, payload, err
}

// Descriptors returns the n descriptors that came with the frame that Next returned; the caller closes them.
func (s *Stream) Descriptors(n int) ([]sock.Raw, error) {
	fds, err := s.in.Claim(n, s.pos)
	if err != nil {
		return nil, fmt.Errorf("receive descriptors: %w", err)
	}
	all := make([]sock.Raw, len(fds))
	for i, fd := range fds {
		all[i] = sock.Raw(fd)
	}
	return all, nil
}

// SetStall says how long a write may wait for the peer before the stream breaks. Zero, as at first: for ever.
func (s *Stream) SetStall(limit time.Duration) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.stall = limit
}

// Put adds a frame to what is sent next.
func (s *Stream) Put(kind byte, parts ...[]byte) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.out = frame.Append(s.out, kind, parts...)
}

// Send sends a frame, with what was put or offered before.
func (s *Stream) Send(kind byte, parts ...[]byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.out = frame.Append(s.out, kind, parts...)
	return s.flush()
}

// SendFiles sends a frame with files beside it, which stay the caller's.
func (s *Stream) SendFiles(kind byte, payload []byte, files ...*os.File) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.flush(); err != nil {
		return err
	}
	return s.failed(sock.Send(s.conn.(*net.UnixConn), frame.Append(nil, kind, payload), files...))
}

// Flush sends what was put, and the rest of what was offered.
func (s *Stream) Flush() error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.flush()
}

// flush writes what is in out. sending is held.
func (s *Stream) flush() error {
	if s.failure != nil || len(s.out) == 0 {
		return s.failure
	}
	if s.stall > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
			return s.failed(err)
		}
	}
	_, err := s.conn.Write(s.out)
	s.reuse()
	if s.stall > 0 && err == nil {
		err = s.conn.SetWriteDeadline(time.Time{}) // offers have none
	}
	return s.failed(err)
}

// reuse empties out and keeps a moderate amount of its memory. sending is held.
func (s *Stream) reuse() {
	if s.out = s.out[:0]; cap(s.out) > 2*frame.Max {
		s.out = nil
	}
}

// failed remembers an error. sending is held.
func (s *Stream) failed(err error) error {
	if err != nil {
		s.failure = err
	}
	return err
}

// Offer sends a frame as far as the peer takes it at once. It reports false if something is left, which Flush and Send
// send first, or if nothing was sent because somebody else is sending (sent is false).
func (s *Stream) Offer(kind byte, parts ...[]byte) (sent, all bool) {
	if !s.sending.TryLock() {
		return false, false
	}
	defer s.sending.Unlock()
	s.out = frame.Append(s.out, kind, parts...)
	if s.failure != nil {
		return true, false
	}
	n, err := sock.WriteNow(s.conn.(*net.UnixConn), s.out)
	if s.failed(err) != nil {
		return true, false
	}
	if n < len(s.out) {
		s.out = s.out[:copy(s.out, s.out[n:])]
		return true, false
	}
	s.reuse()
	return true, true
}

// Close ends the stream.
func (s *Stream) Close() {
	s.stop()
	s.conn.Close()
	s.in.Discard()
}
