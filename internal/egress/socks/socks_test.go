package socks

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// talk is a client that has said everything already.
type talk struct {
	*strings.Reader
	said bytes.Buffer
}

func (t *talk) Write(b []byte) (int, error) { return t.said.Write(b) }

func TestHandshake(t *testing.T) {
	const (
		hi     = "\x05\x01\x00"
		agreed = "\x05\x00"
		bad    = agreed + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"
	)
	name := func(s string) string { return hi + "\x05\x01\x00\x03" + string([]byte{byte(len(s))}) + s + "\x01\xbb" }
	ok := func(r Request) *Request { r.Port = 443; return &r }
	for _, c := range []struct {
		what, in string
		want     *Request
		said     string
	}{
		{"a name", name("plain.lab.test"), ok(Request{Name: "plain.lab.test"}), agreed},
		{"IPv4", hi + "\x05\x01\x00\x01\xcb\x00\x71\x0a\x01\xbb", ok(Request{Addr: netip.MustParseAddr("203.0.113.10")}), agreed},
		{"IPv6", hi + "\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x10\x01\xbb", ok(Request{Addr: netip.MustParseAddr("2001:db8::10")}), agreed},
		{"a login", "\x05\x01\x02\x01\x01u\x02pw\x05\x01\x00\x03\x01a\x01\xbb", ok(Request{Name: "a"}), "\x05\x02\x01\x00"},
		{"an empty login", "\x05\x01\x02\x01\x00\x00\x05\x01\x00\x03\x01a\x01\xbb", ok(Request{Name: "a"}), "\x05\x02\x01\x00"},
		{"none rather than a login", "\x05\x02\x02\x00\x05\x01\x00\x03\x01a\x01\xbb", ok(Request{Name: "a"}), agreed},
		{"only GSSAPI", "\x05\x01\x01", nil, "\x05\xff"},
		{"no method", "\x05\x00", nil, ""},
		{"version 4", "\x04\x01\x01\xbb", nil, ""},
		{"a login of another version", "\x05\x01\x02\x05\x01u\x01p", nil, "\x05\x02"},
		{"a NUL", name("plain.lab.test\x00.deny.lab.test"), nil, bad},
		{"a line feed", name("plain.lab.test\n"), nil, bad},
		{"a carriage return", name("plain\r.lab.test"), nil, bad},
		{"a space", name("plain.lab.test "), nil, bad},
		{"high bytes", name("pl\xe4in.lab.test"), nil, bad},
		{"DEL", name("plain\x7f.lab.test"), nil, bad},
		{"an empty name", name(""), nil, bad},
		{"port 0", hi + "\x05\x01\x00\x03\x01a\x00\x00", nil, bad},
		{"BIND", hi + "\x05\x02\x00\x03\x01a\x01\xbb", nil, agreed + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"UDP", hi + "\x05\x03\x00\x03\x01a\x01\xbb", nil, agreed + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"an unknown kind", hi + "\x05\x01\x00\x02\x01a\x01\xbb", nil, bad},
		{"a reserved byte", hi + "\x05\x01\x01\x03\x01a\x01\xbb", nil, agreed + "\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"a name that is cut", hi + "\x05\x01\x00\x03\x20plain", nil, agreed},
		{"nothing", "", nil, ""},
	} {
		client := &talk{Reader: strings.NewReader(c.in + "rest")}
		if c.want == nil && strings.HasSuffix(c.what, "cut") || c.in == "" {
			client.Reader = strings.NewReader(c.in)
		}
		r, err := Handshake(client)
		if (err == nil) != (c.want != nil) || err == nil && r != *c.want {
			t.Errorf("%s: %+v, %v", c.what, r, err)
		}
		if err == nil && client.Len() != len("rest") {
			t.Errorf("%s: %d bytes are left", c.what, client.Len())
		}
		if client.said.String() != c.said {
			t.Errorf("%s: said %q, want %q", c.what, client.said.String(), c.said)
		}
		if refused := strings.HasSuffix(c.said, strings.Repeat("\x00", 6)); refused != errors.Is(err, ErrRefused) && c.said != "\x05\xff" {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add("\x05\x01\x00\x05\x01\x00\x03\x01a\x01\xbb")
	f.Add("\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := Handshake(&talk{Reader: strings.NewReader(in)})
		if err != nil {
			if !errors.Is(err, ErrRefused) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "version") {
				t.Error(err)
			}
			return
		}
		if r.Port == 0 || (r.Name == "") != r.Addr.IsValid() || strings.ContainsAny(r.Name, "\x00\r\n \t") || r.Name != "" && !strings.Contains(in, r.Name) {
			t.Errorf("%+v", r)
		}
	})
}
