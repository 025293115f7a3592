package hello

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// capture is what a client of crypto/tls sends first.
func capture(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		_ = tls.Client(there, c).HandshakeContext(t.Context())
	}()
	head := make([]byte, 5)
	if _, err := here.Read(head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	for at := 0; at < len(body); {
		n, err := here.Read(body[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	return append(head, body...)
}

// rewrap cuts the message of a record into records of at most n bytes.
func rewrap(record []byte, n int) (out []byte) {
	for part := range slices.Chunk(record[5:], n) {
		out = append(append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part))), part...)
	}
	return out
}

func TestRealClients(t *testing.T) {
	for _, c := range []struct {
		what   string
		config *tls.Config
		want   Hello
	}{
		{"a name", &tls.Config{ServerName: "plain.lab.test", NextProtos: []string{"h2", "http/1.1"}},
			Hello{ServerName: "plain.lab.test", HasServerName: true}},
		{"no name", &tls.Config{InsecureSkipVerify: true}, Hello{}},
		{"TLS 1.0", &tls.Config{ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
			Hello{ServerName: "a.example", HasServerName: true}},
		{"many protocols", &tls.Config{ServerName: "a.example", NextProtos: slices.Repeat([]string{strings.Repeat("p", 200)}, 60)},
			Hello{ServerName: "a.example", HasServerName: true}},
	} {
		whole := capture(t, c.config)
		for _, cut := range []int{1 << 14, 100, 7, 4} {
			data := rewrap(whole, cut)
			if len(data) > MaxSize {
				continue
			}
			for n := 0; n < len(data); n += 1 + len(data)/1000 {
				if _, err := Parse(data[:n]); !errors.Is(err, ErrShort) {
					t.Fatalf("%s in records of %d, %d of %d bytes: %v", c.what, cut, n, len(data), err)
				}
			}
			got, err := Parse(append(data, "and more"...))
			if err != nil || got != c.want {
				t.Errorf("%s in records of %d: %+v, %v", c.what, cut, got, err)
			}
		}
	}
}

// message builds a ClientHello with these extensions.
func message(extensions string) []byte {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + string([]byte{byte(len(extensions) >> 8), byte(len(extensions))}) + extensions
	m := "\x01\x00" + string([]byte{byte(len(body) >> 8), byte(len(body))}) + body
	return append([]byte{22, 3, 1, byte(len(m) >> 8), byte(len(m))}, m...)
}

func extension(kind uint16, data string) string {
	return string([]byte{byte(kind >> 8), byte(kind), byte(len(data) >> 8), byte(len(data))}) + data
}

func sni(name string) string {
	n := len(name)
	return extension(extServerName, string([]byte{byte((n + 3) >> 8), byte(n + 3), 0, byte(n >> 8), byte(n)})+name)
}

func TestMade(t *testing.T) {
	for _, c := range []struct {
		what string
		data []byte
		name string // "" is malformed
	}{
		{"a name", message(sni("a.example")), "a.example"},
		{"beside an unknown extension", message(extension(0x1234, "x") + sni("a.example")), "a.example"},
		{"twice", message(sni("a.example") + sni("b.example")), ""},
		{"with NUL", message(sni("a.example\x00.b.example")), ""},
		{"with a line feed", message(sni("a\n.example")), ""},
		{"with a space", message(sni("a .example")), ""},
		{"in UTF-8", message(sni("ä.example")), ""},
		{"empty", message(sni("")), ""},
		{"300 long", message(sni(strings.Repeat("a", 300))), ""},
		{"of another kind", message(extension(extServerName, "\x00\x04\x01\x00\x01a")), ""},
		{"two in one list", message(extension(extServerName, "\x00\x08\x00\x00\x01a\x00\x00\x01b")), ""},
		{"a list that is too short", message(extension(extServerName, "\x00\x05\x00\x00\x01a")), ""},
		{"something after the list", message(extension(extServerName, "\x00\x04\x00\x00\x01ab")), ""},
		{"an empty extension", message(extension(extServerName, "")), ""},
		{"an extension that is cut", message(sni("a.example") + "\x00"), ""},
		{"another message", slices.Concat([]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}), ""},
		{"an alert", []byte{21, 3, 1, 0, 2, 1, 0}, ""},
		{"an alert between", slices.Concat(rewrap(message(sni("a.example")), 50)[:55], []byte{21, 3, 1, 0, 2, 1, 0}), ""},
		{"an empty record", append([]byte{22, 3, 1, 0, 0}, message(sni("a.example"))...), ""},
		{"a record that is too long", []byte{22, 3, 1, 0x40, 1}, ""},
		{"a message that is too long", []byte{22, 3, 1, 0, 4, 1, 1, 0, 0}, ""},
		{"another major version", []byte{22, 2, 0, 0, 4, 1, 0, 0, 0}, ""},
		{"SSL 2", []byte{0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10}, ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), ""},
	} {
		h, err := Parse(c.data)
		switch {
		case c.name == "" && !errors.Is(err, ErrMalformed):
			t.Errorf("%s: %+v, %v", c.what, h, err)
		case c.name != "" && (err != nil || h.ServerName != c.name):
			t.Errorf("%s: %+v, %v", c.what, h, err)
		}
	}
}

func TestBegins(t *testing.T) {
	for _, c := range []struct {
		data      string
		tls, more bool
	}{
		{"", false, true}, {"\x16", true, false}, {"GET", false, false}, {"\x00\x00\x00\x08", false, false},
		{"\x80", false, true}, {"\x80\x2e\x01\x03\x01", true, false}, {"\x80\x2e\x01\x00\x02", true, false}, {"\x80\x2e\x09\x03\x01", false, false},
	} {
		if tls, more := Begins([]byte(c.data)); tls != c.tls || more != c.more {
			t.Errorf("%q: %v, %v", c.data, tls, more)
		}
	}
}

// FuzzParse compares what is understood with what crypto/tls makes of the same bytes.
func FuzzParse(f *testing.F) {
	f.Add(capture(f, &tls.Config{ServerName: "plain.lab.test", NextProtos: []string{"h2"}}))
	f.Add(message(sni("a.example")))
	f.Add(rewrap(message(sni("a.example")), 9))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if h.HasServerName == (h.ServerName == "") {
			t.Errorf("%+v", h)
		}
		seen, ok := serverSees(data)
		if ok && seen != h.ServerName && strings.TrimSuffix(h.ServerName, ".") != seen {
			t.Errorf("a server sees the name %q, not %q", seen, h.ServerName)
		}
	})
}

// serverSees returns the name that crypto/tls reads.
func serverSees(data []byte) (name string, ok bool) {
	conn := tls.Server(script{Reader: bytes.NewReader(data)}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, ok = h.ServerName, true
		return nil, errors.New("seen")
	}})
	_ = conn.Handshake()
	return name, ok
}

// script is a connection on which somebody else says what was written before.
type script struct {
	net.Conn // nil: what is not below is not called
	*bytes.Reader
}

func (s script) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s script) Write(b []byte) (int, error) { return len(b), nil }
func (s script) Close() error                { return nil }
