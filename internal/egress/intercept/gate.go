package intercept

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// refusedHead is what a server reads in the place of a head that was refused, so that it asks for no more, and answers
// at this place among other answers. No client can send it.
const refusedHead = refusedVerb + " / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"

// gate is a connection on which a client sends requests in HTTP/1. Who reads it gets whole heads that checkHead took, and
// between them exactly the bytes of the bodies; after a flaw refusedHead, or an error inside a body, and then the end.
type gate struct {
	net.Conn
	patience time.Duration // for a head, from its first byte to its last

	step    step
	skipped bool   // an empty line before the head
	store   []byte // holds buf as long as it fits
	buf     []byte // what was read and is not yet given out
	ready   int    // bytes of buf that may be given out
	left    int64  // bytes of body to come, or of a trailer, before step
	flaw    *flaw  // set before refusedHead is given out
}

// step is what comes next on a gate.
type step int

const (
	stepHead     step = iota
	stepBody          // left bytes, then a head
	stepChunk         // the line before a chunk
	stepData          // left bytes, then CR LF
	stepDataEnd       // CR LF
	stepTrailer       // lines up to an empty one
	stepOpaque        // whatever the client wants
	stepRefused       // nothing more
	stepBodyFlaw      // an error
)

// await returns when a head is there for Read, or what stands for one that was refused. It must not be called within a body,
// and gives a client so long to begin.
func (g *gate) await(patience time.Duration) error {
	if g.ready > 0 {
		return nil
	}
	if g.step == stepBody && g.left == 0 {
		g.step = stepHead
	}
	if g.step != stepHead {
		return net.ErrClosed
	}
	if len(g.buf) == 0 {
		if err := g.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if err := g.more(); err != nil {
			return err
		}
		if err := g.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return g.line()
}

// ahead reads what follows a request that was read, which Read gives out later. The error is nil if the wait was ended by
// a deadline.
func (g *gate) ahead() error {
	if rest := g.step == stepHead || g.step == stepOpaque || g.step == stepBody && g.left == 0; !rest || len(g.buf) > 0 {
		return nil
	}
	if err := g.more(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// Read never gives out bytes that were not checked. It is called by one goroutine at a time.
func (g *gate) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if g.ready > 0 {
			return g.give(p), nil
		}
		switch g.step {
		case stepRefused:
			return 0, io.EOF
		case stepBodyFlaw:
			return 0, io.ErrUnexpectedEOF
		case stepBody, stepData, stepOpaque:
			if n, err := g.body(p); n > 0 || err != nil {
				return n, err
			}
		default:
			if err := g.line(); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// give gives out what is ready.
func (g *gate) give(p []byte) int {
	n := copy(p, g.buf[:g.ready])
	g.ready -= n
	if g.buf = g.buf[n:]; len(g.buf) == 0 {
		g.buf = g.store[:0]
	}
	return n
}

// body reads what needs no checking, straight into p if nothing was read before.
func (g *gate) body(p []byte) (n int, err error) {
	if g.step == stepOpaque && len(g.buf) == 0 {
		return g.Conn.Read(p)
	}
	if g.step == stepOpaque {
		g.ready = len(g.buf)
		return 0, nil
	}
	if g.left == 0 {
		if g.step == stepData {
			g.step = stepDataEnd
		} else {
			g.step = stepHead
		}
		return 0, nil
	}
	if len(g.buf) > 0 {
		g.ready = int(min(int64(len(g.buf)), g.left))
		g.left -= int64(g.ready)
		return 0, nil
	}
	n, err = g.Conn.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

// line reads up to the end of the next head or line, and checks it.
func (g *gate) line() error {
	var slow *time.Timer
	for seen := 0; ; {
		if done := g.check(seen); done {
			if slow != nil {
				slow.Stop()
			}
			return nil
		}
		seen = len(g.buf)
		if seen > 0 && slow == nil && g.step == stepHead {
			slow = time.AfterFunc(g.patience, func() { _ = g.Close() })
		}
		if err := g.more(); err != nil {
			if slow != nil {
				slow.Stop()
			}
			return err
		}
	}
}

// more reads more into buf.
func (g *gate) more() error {
	if g.store == nil {
		g.store = make([]byte, 0, 4<<10)
		g.buf = g.store
	}
	if len(g.buf) == cap(g.buf) {
		g.buf = append(make([]byte, 0, max(4<<10, 2*len(g.buf))), g.buf...)
	}
	n, err := g.Conn.Read(g.buf[len(g.buf):cap(g.buf)])
	g.buf = g.buf[:len(g.buf)+n]
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) && len(g.buf) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// check takes the next head or line from buf if it is complete. The first seen bytes were looked at before.
func (g *gate) check(seen int) (done bool) {
	if g.step == stepHead {
		return g.checkHead(seen)
	}
	end := bytes.IndexByte(g.buf, '\n') + 1
	limit := maxChunk
	if g.step == stepTrailer {
		limit = maxTrailer
	}
	if end > limit || end == 0 && len(g.buf) > limit {
		g.refuseBody(bad("a line of a chunked body is too long"))
		return true
	}
	if end == 0 {
		return false
	}
	g.ready = end
	line, _, found := cutLine(g.buf[:end])
	if !found {
		g.refuseBody(bad("a line of a chunked body does not end in CR LF"))
		return true
	}
	switch g.step {
	case stepDataEnd:
		g.step = stepChunk
		if len(line) > 0 {
			g.refuseBody(bad("a chunk is longer than it says"))
		}
	case stepChunk:
		g.chunk(line)
	case stepTrailer:
		g.trailer(line)
	}
	return true
}

func (g *gate) chunk(line []byte) {
	size, f := chunkSize(line)
	switch {
	case f != nil:
		g.refuseBody(f)
	case size == 0:
		g.step, g.left = stepTrailer, maxTrailer
	default:
		g.step, g.left = stepData, size
	}
}

func (g *gate) trailer(line []byte) {
	g.left -= int64(len(line)) + 2
	switch {
	case len(line) == 0:
		g.step = stepHead
	case g.left < 0:
		g.refuseBody(bad("the trailer is too long"))
	default:
		if f := trailerLine(line); f != nil {
			g.refuseBody(f)
		}
	}
}

// checkHead takes a head if it is complete. One empty line before it is forgiven (RFC 9112 section 2.2).
func (g *gate) checkHead(seen int) (done bool) {
	if !g.skipped && bytes.HasPrefix(g.buf, []byte("\r\n")) {
		g.buf, g.skipped, seen = g.buf[2:], true, 0
	}
	end, f := headEnd(g.buf, max(0, seen-3))
	if f == nil && end == 0 {
		if f = unfinished(g.buf, seen); f == nil {
			return false
		}
	}
	var next framing
	if f == nil {
		next, f = checkHead(g.buf[:end])
	}
	if f != nil {
		g.flaw, g.step = f, stepRefused
		g.buf, g.ready = []byte(refusedHead), len(refusedHead)
		return true
	}
	g.ready, g.left, g.skipped = end, next.length, false
	switch {
	case next.chunked:
		g.step = stepChunk
	case next.length > 0:
		g.step = stepBody
	}
	if next.upgrade {
		g.step = stepOpaque
	}
	return true
}

// headEnd returns where the empty line ends. A line that ends otherwise than in CR LF is told at once, since its end might
// be the only one.
func headEnd(text []byte, from int) (int, *flaw) {
	for i := from; i < len(text); i++ {
		at := bytes.IndexByte(text[i:], '\n')
		if at < 0 {
			return 0, nil
		}
		i += at
		switch {
		case i == 0 || text[i-1] != '\r':
			return 0, bad("a line does not end in CR LF")
		case i >= 3 && text[i-2] == '\n':
			return i + 1, tooLong(text[:i+1])
		}
	}
	return 0, nil
}

// unfinished looks at a head that is not complete: a client that sent no request line is not waited for.
func unfinished(text []byte, seen int) *flaw {
	if f := tooLong(text); f != nil {
		return f
	}
	if end := bytes.IndexByte(text, '\n') + 1; end > seen {
		return new(head).requestLine(text[:end-2])
	}
	return nil
}

func tooLong(text []byte) *flaw {
	if line := bytes.IndexByte(text, '\n'); line > maxLine || line < 0 && len(text) > maxLine {
		return &flaw{414, "the request line is too long"}
	}
	if len(text) > maxHead {
		return &flaw{431, "the header is too long"}
	}
	return nil
}

// refuseBody ends the connection in the midst of a body.
func (g *gate) refuseBody(f *flaw) { g.flaw, g.step, g.ready = f, stepBodyFlaw, 0 }

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (g *gate) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}
