package intercept

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"moat/internal/egress/http1"
)

const (
	goodbye    = 500 * time.Millisecond // for a client to notice that it is not listened to any more
	readerSize = 4 << 10
)

// one is a connection on which requests come in HTTP/1. They are served in turn, by the goroutine that reads them.
type one struct {
	*visit
	conn    net.Conn // where answers are written
	gate    *gate    // where requests are read
	read    *bufio.Reader
	lookout lookout
}

// serveOne serves HTTP/1 until the client or we have had enough. The connection is the caller's to close; if the last answer
// is not whole it must not look as if it were.
func (v *visit) serveOne(ctx context.Context, conn net.Conn) (whole bool) {
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	c := &one{visit: v, conn: conn, gate: v.gate, read: v.readers.Get().(*bufio.Reader)}
	c.lookout = lookout{gate: v.gate, gone: gone}
	defer v.readers.Put(c.read)
	c.read.Reset(c.gate)
	defer c.read.Reset(nil)
	for c.gate.await(idleLimit) == nil {
		if more, whole := c.serve(ctx); !more {
			return whole
		}
	}
	return true
}

// serve serves the next request, and reports whether another one may follow, and whether the answer is whole.
func (c *one) serve(ctx context.Context) (more, whole bool) {
	r, err := http.ReadRequest(c.read)
	if err != nil {
		r = c.unreadable()
	}
	w := http1.NewWriter(c.conn, c.gate, c.read, r)
	defer w.Drop()
	body := &inBody{w: w, body: r.Body, one: c}
	if r.Body != http.NoBody {
		r.Body = body
	} else {
		body.ended.Store(true)
	}
	if c.gate.step == stepRefused {
		w.Last()
	}
	c.patrol.start(&c.lookout, &body.ended)
	whole = c.exchange(ctx, owned{w, c}, r)
	c.patrol.stop(&c.lookout)
	if !whole {
		return false, false
	}
	more, err = w.Finish()
	if err != nil {
		return false, false
	}
	ended := body.ended.Load()
	if !more || !ended {
		c.leave(ended)
	}
	return more && ended, true
}

// owned is a Writer whose connection is not watched any more once it is taken over.
type owned struct {
	*http1.Writer
	c *one
}

// Hijack implements http.Hijacker.
func (o owned) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	o.c.patrol.stop(&o.c.lookout)
	return o.Writer.Hijack()
}

// unreadable stands for a request that the gate took and net/http does not.
func (c *one) unreadable() *http.Request {
	c.gate.flaw, c.gate.step = bad("the request is invalid"), stepRefused
	return &http.Request{Method: refusedVerb, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: http.NoBody, Close: true}
}

// leave says goodbye. A client that still sends would lose the answer if the connection were closed while something is
// unread (RFC 9112 section 9.6).
func (c *one) leave(ended bool) {
	if ended && c.gate.step != stepRefused && c.gate.step != stepBodyFlaw {
		return
	}
	if c.gate.CloseWrite() != nil || c.gate.SetReadDeadline(time.Now().Add(goodbye)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.gate.Conn)
}

// inBody is the body of a request from the sandbox. Close ends a Read that waits; what is left of the body is not read.
type inBody struct {
	w      *http1.Writer
	body   io.ReadCloser
	one    *one
	asked  bool // for the body; of the goroutine that reads
	ended  atomic.Bool
	closed atomic.Bool
}

// Read asks the client for the body if it waits for that.
func (b *inBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if !b.asked {
		b.asked = true
		b.w.Continue()
	}
	n, err := b.body.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

// Ready reports whether there is something to read.
func (b *inBody) Ready() bool {
	return b.one.read.Buffered() > 0 || len(b.one.gate.buf) > 0
}

// Close may be called beside Read.
func (b *inBody) Close() error {
	b.closed.Store(true)
	if b.ended.Load() {
		return nil
	}
	return b.one.gate.SetReadDeadline(time.Unix(1, 0))
}
