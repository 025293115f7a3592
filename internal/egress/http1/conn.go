package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long an answer that is whole waits for the end of its request, so that the connection can be kept.
const patience = 50 * time.Millisecond

// conn is a connection to a server. It is used by one exchange at a time.
type conn struct {
	net.Conn
	client *Client
	key    string
	below  net.Conn // under TLS
	in     bounded
	read   *bufio.Reader
	socket syscall.RawConn // nil if it has none
	kept   bool            // it carried an exchange before this one
	since  time.Time       // it is idle
	one    [1]byte         // for a look
}

// bounded reads from a connection, no more than left.
type bounded struct {
	net.Conn
	left int64
	got  int64
}

var errHead = errors.New("the head of the answer is too long")

// Read reads what may be read yet.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errHead
	}
	n, err := b.Conn.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.got += int64(n)
	return n, err
}

const unbounded = 1<<63 - 1

func newConn(client *Client, key string, secure, below net.Conn) *conn {
	c := &conn{Conn: secure, client: client, key: key, below: below, in: bounded{Conn: secure}}
	c.read = bufio.NewReaderSize(&c.in, bufferSize)
	if s, ok := below.(syscall.Conn); ok {
		c.socket, _ = s.SyscallConn() // some have none
	}
	return c
}

// close ends the connection without a word: it may be in the midst of anything.
func (c *conn) close() { _ = c.below.Close() }

// quiet reports whether a connection that was kept is alive and silent. Bytes that nobody asked for would be taken for
// the answer to the next request.
func (c *conn) quiet() bool {
	if c.read.Buffered() > 0 || c.socket != nil && !silent(c.socket) || c.SetReadDeadline(c.client.past) != nil {
		return false
	}
	n, err := c.Conn.Read(c.one[:]) // what TLS has read and not given out
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.SetReadDeadline(time.Time{}) == nil
}

// exchange sends a request, of which head is the head, and returns the answer. The error is errIdleEnd if the server
// cannot have seen the request.
func (c *conn) exchange(r *http.Request, head []byte, w Watch) (*http.Response, error) {
	if w.Conn != nil {
		w.Conn(c.Conn)
	}
	x := &exchange{conn: c, stop: context.AfterFunc(r.Context(), c.close)}
	c.in.left, c.in.got = unbounded, 0
	if limit := c.client.config.MaxHead; limit > 0 {
		c.in.left = limit
	}
	if err := x.send(r, head); err != nil {
		return nil, x.failed(r, err)
	}
	answer, err := x.receive(r, w)
	if err != nil {
		return nil, x.failed(r, err)
	}
	c.in.left = unbounded
	switch {
	case answer.StatusCode == http.StatusSwitchingProtocols:
		answer.Body = &switched{exchange: x}
	case answer.Body == http.NoBody:
		x.end(!answer.Close)
	default:
		answer.Body = &answerBody{exchange: x, body: answer.Body, keep: !answer.Close}
	}
	return answer, nil
}

// exchange is a request and its answer on a connection.
type exchange struct {
	*conn
	stop   func() bool // watching the context
	upload *upload     // nil: the request has no body
	over   atomic.Bool
}

// send writes a request that has no body, or begins to send one.
func (x *exchange) send(r *http.Request, head []byte) error {
	if !bodyless(r) {
		x.upload = newUpload(x.conn, r, head)
		go x.upload.run()
		return nil
	}
	closeBody(r)
	if _, err := x.Write(head); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	return x.wait()
}

// wait limits the time until the answer. It is called when the request was sent.
func (c *conn) wait() error {
	if limit := c.client.config.Answer; limit > 0 {
		return c.SetReadDeadline(time.Now().Add(limit))
	}
	return nil
}

// receive reads informational answers and the head of the final one.
func (x *exchange) receive(r *http.Request, w Watch) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(x.read, r)
		if err != nil {
			return nil, err
		}
		status := answer.StatusCode
		if status >= 200 || status == http.StatusSwitchingProtocols {
			if x.upload != nil {
				return answer, x.upload.answer()
			}
			return answer, x.SetReadDeadline(time.Time{})
		}
		if status == http.StatusContinue {
			if x.upload != nil {
				x.upload.proceed()
			}
			continue
		}
		if w.Early != nil {
			if err := w.Early(status, answer.Header); err != nil {
				return nil, err
			}
		}
	}
}

// failed ends an exchange that has no answer, and says why.
func (x *exchange) failed(r *http.Request, err error) error {
	x.end(false)
	switch {
	case r.Context().Err() != nil:
		return context.Cause(r.Context())
	case x.upload != nil && x.upload.cause() != nil:
		return x.upload.cause()
	case x.kept && x.in.got == 0 && !errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", errIdleEnd, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server closed the connection without an answer")
	}
	return err
}

// end is called once both messages are over, or one of them cannot be completed. The connection is kept if that is right.
func (x *exchange) end(keep bool) {
	if !x.over.CompareAndSwap(false, true) {
		return
	}
	if x.upload != nil {
		keep = x.upload.finish(keep)
	}
	if !x.stop() || !keep || x.client.pool.idle <= 0 {
		x.conn.close()
		return
	}
	x.kept = true
	x.client.pool.put(x.conn)
}

// answerBody is the body of an answer. At its end the connection is kept, before that it is closed.
type answerBody struct {
	*exchange
	body io.ReadCloser
	keep bool
	err  error
}

// Read reads the body as net/http does.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.err = err
		b.end(b.keep && errors.Is(err, io.EOF))
	}
	return n, err
}

// Ready implements Ready.
func (b *answerBody) Ready() bool { return b.conn.read.Buffered() > 0 }

// Close ends the exchange.
func (b *answerBody) Close() error {
	if b.err == nil {
		b.err = net.ErrClosed
	}
	b.end(false)
	return nil
}

// switched is a connection that carries another protocol.
type switched struct{ *exchange }

// Read gives first what came with the answer.
func (s *switched) Read(p []byte) (int, error) {
	if s.read.Buffered() > 0 {
		return s.read.Read(p)
	}
	return s.Conn.Read(p)
}

// Close closes the connection.
func (s *switched) Close() error {
	s.end(false)
	return nil
}

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (s *switched) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}
