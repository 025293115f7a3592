// Package hello reads the first message of a TLS client, to learn which name it asks for.
//
// It promises to understand a ClientHello however it is cut into records and segments, to read no more of it than there
// is, and to refuse what a server might read in another way: doubled extensions, names that are no text, lengths that do
// not fit. It decides nothing about the name, and does not check what has no part in choosing a server.
package hello

import (
	"errors"
	"slices"
)

// MaxSize is how many bytes of a connection may be needed to hold a ClientHello.
const MaxSize = 32 << 10

var (
	// ErrShort says that the message goes on: try again with more.
	ErrShort = errors.New("the ClientHello is not complete")
	// ErrMalformed says that this is no ClientHello that can be understood.
	ErrMalformed = errors.New("the ClientHello is malformed")
)

// Hello is what a client says about the server that it wants.
type Hello struct {
	// ServerName is the name of the server name indication (RFC 6066 section 3) as it was sent: printable ASCII.
	ServerName string
	// HasServerName tells an absent indication from others; it is never present and empty.
	HasServerName bool
}

// Numbers of the TLS registries.
const (
	recordHandshake    = 22
	messageClientHello = 1
	extServerName      = 0
	nameTypeHost       = 0
	maxRecord          = 1 << 14
	maxExtensions      = 256
)

// Begins reports whether data, of which a few bytes are enough, begins as TLS does; more is true if that cannot be said
// yet. The hello of SSL 2 begins in its own way and is not understood: Parse refuses it.
func Begins(data []byte) (tls, more bool) {
	switch {
	case len(data) == 0:
		return false, true
	case data[0] == recordHandshake:
		return true, false
	case data[0]&0x80 == 0:
		return false, false
	case len(data) < 5:
		return false, true
	}
	// SSL 2: length with the high bit, CLIENT-HELLO (1), version 0.2 or 3.x.
	return data[2] == 1 && (data[3] == 0 && data[4] == 2 || data[3] == 3 && data[4] <= 4), false
}

// Parse reads the ClientHello at the beginning of data. What follows it is not looked at. The error is ErrShort or
// ErrMalformed.
func Parse(data []byte) (Hello, error) {
	message, err := unwrap(data)
	if err != nil {
		return Hello{}, err
	}
	h, ok := parseMessage(message)
	if !ok {
		return Hello{}, ErrMalformed
	}
	return h, nil
}

// unwrap joins the records that hold the first handshake message and returns its body.
func unwrap(data []byte) ([]byte, error) {
	var joined []byte
	for rest := data; ; {
		if len(joined) >= 4 {
			if joined[0] != messageClientHello {
				return nil, ErrMalformed
			}
			size := 4 + (int(joined[1])<<16 | int(joined[2])<<8 | int(joined[3]))
			if size > MaxSize {
				return nil, ErrMalformed
			}
			if len(joined) >= size {
				return joined[4:size], nil
			}
		}
		if len(rest) >= 3 && (rest[0] != recordHandshake || rest[1] != 3) || len(rest) > 0 && rest[0] != recordHandshake {
			return nil, ErrMalformed
		}
		if len(rest) < 5 {
			return nil, short(data)
		}
		n := int(rest[3])<<8 | int(rest[4])
		if n == 0 || n > maxRecord { // RFC 8446 section 5.1: no empty fragments of handshake messages
			return nil, ErrMalformed
		}
		if len(rest) < 5+n {
			return nil, short(data)
		}
		joined = append(joined, rest[5:5+n]...)
		rest = rest[5+n:]
	}
}

func short(data []byte) error {
	if len(data) >= MaxSize {
		return ErrMalformed
	}
	return ErrShort
}

// parseMessage reads the body of a ClientHello (RFC 8446 section 4.1.2).
func parseMessage(body []byte) (h Hello, ok bool) {
	f := &fields{rest: body}
	f.take(2 + 32) // version and random
	session, suites := f.list(1), f.list(2)
	f.list(1) // compression
	if f.failed || len(session) > 32 || len(suites) == 0 || len(suites)%2 != 0 {
		return h, false
	}
	if f.done() {
		return h, true // extensions came with TLS 1.2
	}
	extensions := &fields{rest: f.list(2)}
	if !f.done() {
		return h, false
	}
	var seen []int
	for !extensions.done() && !extensions.failed {
		kind, data := extensions.number(2), extensions.list(2)
		if extensions.failed || slices.Contains(seen, kind) || len(seen) >= maxExtensions {
			return h, false
		}
		seen = append(seen, kind)
		if kind != extServerName {
			continue
		}
		if h.ServerName, h.HasServerName = serverName(data); !h.HasServerName {
			return h, false
		}
	}
	return h, !extensions.failed
}

// serverName reads a list of exactly one name: nobody sends more, and servers do not agree which one counts.
func serverName(data []byte) (string, bool) {
	f := &fields{rest: data}
	list := &fields{rest: f.list(2)}
	kind, name := list.number(1), list.list(2)
	if !f.done() || !list.done() || kind != nameTypeHost || len(name) == 0 || len(name) > 255 {
		return "", false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return string(name), true
}

// fields reads numbers and lists one after the other. Once something does not fit, failed is set for good.
type fields struct {
	rest   []byte
	failed bool
}

// done reports whether all was read and everything did fit.
func (f *fields) done() bool { return !f.failed && len(f.rest) == 0 }

func (f *fields) take(n int) []byte {
	if f.failed || n > len(f.rest) {
		f.failed = true
		return nil
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

// number reads an integer of so many bytes.
func (f *fields) number(size int) (n int) {
	for _, b := range f.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// list reads what follows after its length of so many bytes.
func (f *fields) list(size int) []byte { return f.take(f.number(size)) }
