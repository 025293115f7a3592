package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"moat/internal/egress/hello"
)

// kind is what a connection carries, as far as its first bytes tell.
type kind int

const (
	kindUnknown kind = iota // not enough bytes
	kindTLS
	kindHTTP
	kindOther
)

// maxOpening is how many bytes are looked at: a whole ClientHello, or the longest request line of which more than its
// beginning counts.
const (
	maxOpening = hello.MaxSize
	maxLine    = 8 << 10
	maxMethod  = 32
)

// opening is what the first bytes of a connection say.
type opening struct {
	kind  kind
	hello hello.Hello // of TLS
}

var (
	errSilent = errors.New("the client sent nothing")
	errStall  = errors.New("the client did not finish what it began")
)

// peeked is a connection whose first bytes were looked at; who reads it gets them first.
type peeked struct {
	net.Conn
	head []byte
}

// Read gives what was looked at, then what follows.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (p *peeked) CloseWrite() error { return closeWrite(p.Conn) }

// peek looks at the first bytes: it waits until first for any, and then for as long as rest to be able to tell what they
// are. The errors are errSilent, errStall, hello.ErrMalformed, io.EOF if there was nothing at all, or those of reading. No
// deadline is left behind.
func (p *peeked) peek(first time.Time, rest time.Duration) (opening, error) {
	defer func() { _ = p.SetReadDeadline(time.Time{}) }()
	if len(p.head) == 0 {
		if err := p.more(first); err != nil {
			if timeout(err) {
				err = errSilent
			}
			return opening{}, err
		}
	}
	deadline := time.Now().Add(rest)
	for {
		o, err := classify(p.head)
		if err != nil || o.kind != kindUnknown {
			return o, err
		}
		if err := p.more(deadline); err != nil {
			return p.unfinished(err)
		}
	}
}

// unfinished is what a beginning means after which nothing more comes.
func (p *peeked) unfinished(err error) (opening, error) {
	tls, _ := hello.Begins(p.head)
	switch {
	case errors.Is(err, io.EOF) && tls:
		return opening{}, hello.ErrMalformed
	case errors.Is(err, io.EOF), timeout(err) && p.head[0]&0x80 != 0:
		return opening{kind: kindOther}, nil // no request line without an end, no hello of SSL 2 in so few bytes
	case timeout(err):
		return opening{}, errStall
	}
	return opening{}, err
}

// more reads more of the head.
func (p *peeked) more(deadline time.Time) error {
	if err := p.SetReadDeadline(deadline); err != nil {
		return err
	}
	p.head = slices.Grow(p.head, 2048)
	n, err := p.Conn.Read(p.head[len(p.head):cap(p.head)])
	p.head = p.head[:len(p.head)+n]
	if n > 0 {
		return nil
	}
	return err
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// classify tells what the beginning of a connection is.
func classify(head []byte) (opening, error) {
	switch tls, more := hello.Begins(head); {
	case tls:
		h, err := hello.Parse(head)
		if errors.Is(err, hello.ErrShort) {
			return opening{}, nil
		}
		return opening{kind: kindTLS, hello: h}, err
	case more:
		return opening{}, nil
	}
	return opening{kind: classifyText(head)}, nil
}

// classifyText errs on the side of HTTP: whatever some server might take for a request line is one, however odd, so that
// a strict reader gets it.
func classifyText(head []byte) kind {
	text := bytes.TrimLeft(head, "\r\n\t ") // which servers skip (RFC 9112 section 2.2)
	line, _, whole := bytes.Cut(text, []byte("\n"))
	method, target, spaced := cutSpace(line)
	switch {
	case len(head) >= maxOpening:
		return kindHTTP
	case !methodLike(method):
		return kindOther
	case !spaced && whole:
		return kindOther
	case !spaced:
		return kindUnknown
	case whole && bytes.Contains(bytes.ToUpper(target), []byte("HTTP/")):
		return kindHTTP
	case webMethod(method) && bytes.HasPrefix(bytes.TrimLeft(target, " \t"), []byte("/")):
		return kindHTTP // also without a version, as HTTP/0.9 had it
	case whole:
		return kindOther
	case len(line) > maxLine:
		return kindHTTP
	}
	return kindUnknown
}

// cutSpace cuts at the first blank, of which there may be several kinds.
func cutSpace(line []byte) (before, after []byte, found bool) {
	if at := bytes.IndexAny(line, " \t\v\f\r"); at >= 0 {
		return line[:at], line[at+1:], true
	}
	return line, nil, false
}

// methodLike reports whether a method could begin so (RFC 9110 section 5.6.2).
func methodLike(word []byte) bool {
	if len(word) > maxMethod {
		return false
	}
	for _, c := range word {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return true
}

func webMethod(word []byte) bool {
	switch string(bytes.ToUpper(word)) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT":
		return true
	}
	return false
}
