package intercept

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"moat/internal/egress"
	"moat/internal/policy"
)

// Requests as a client in the sandbox may write them, byte by byte, on a connection to cred.lab.test:443.
func TestProbes(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	var seen []string
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprintf("%s %s %s %q", r.Method, r.Host, r.RequestURI, body))
	}))
	const host = "Host: cred.lab.test\r\n"
	long := strings.Repeat("a", 70<<10)
	for _, p := range []struct {
		name, send string
		status     int
		seen       string // what arrived outside; "" for nothing
	}{
		{"ordinary", "GET /x HTTP/1.1\r\n" + host + "\r\n", 200, `GET cred.lab.test /x ""`},
		{"port said", "GET /x HTTP/1.1\r\nHost: CRED.lab.test:443\r\n\r\n", 200, `GET cred.lab.test /x ""`},
		{"absolute form", "GET https://cred.lab.test/x?y HTTP/1.1\r\n" + host + "\r\n", 200, `GET cred.lab.test /x?y ""`},
		{"absolute form without path", "GET https://cred.lab.test?y HTTP/1.1\r\n" + host + "\r\n", 200, `GET cred.lab.test /?y ""`},
		{"options *", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 200, `OPTIONS cred.lab.test * ""`},
		{"HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", 200, `GET cred.lab.test /x ""`},
		{"body", "POST /x HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", 200, `POST cred.lab.test /x "abc"`},
		{"chunks", "POST /x HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n", 200, `POST cred.lab.test /x "abc"`},
		{"an empty line before", "\r\nGET /x HTTP/1.1\r\n" + host + "\r\n", 200, `GET cred.lab.test /x ""`},
		{"query in UTF-8", "GET /x?ü HTTP/1.1\r\n" + host + "\r\n", 200, `GET cred.lab.test /x?%C3%BC ""`},
		{"h2c is not passed on (P31)", "GET /x HTTP/1.1\r\n" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 200, `GET cred.lab.test /x ""`},

		{"CONNECT inside (P05)", "CONNECT deny.lab.test:443 HTTP/1.1\r\nHost: deny.lab.test:443\r\n\r\n", 405, ""},
		{"absolute form for another host (P07)", "GET https://deny.lab.test/ HTTP/1.1\r\nHost: deny.lab.test\r\n\r\n", 421, ""},
		{"absolute form and another Host (P07)", "GET https://cred.lab.test/ HTTP/1.1\r\nHost: shared.lab.test\r\n\r\n", 421, ""},
		{"absolute form for http", "GET http://cred.lab.test/ HTTP/1.1\r\n" + host + "\r\n", 421, ""},
		{"Host with a comma (P09)", "GET / HTTP/1.1\r\nHost: cred.lab.test, x\r\n\r\n", 400, ""},
		{"Host with a space (P09)", "GET / HTTP/1.1\r\nHost: cred.lab.test x\r\n\r\n", 400, ""},
		{"port 0 (P09)", "GET / HTTP/1.1\r\nHost: cred.lab.test:0\r\n\r\n", 400, ""},
		{"port 99999 (P09)", "GET / HTTP/1.1\r\nHost: cred.lab.test:99999\r\n\r\n", 400, ""},
		{"port +443", "GET / HTTP/1.1\r\nHost: cred.lab.test:+443\r\n\r\n", 400, ""},
		{"empty port", "GET / HTTP/1.1\r\nHost: cred.lab.test:\r\n\r\n", 400, ""},
		{"backslash and @ (P11)", "GET / HTTP/1.1\r\nHost: cred.lab.test\\@deny.lab.test\r\n\r\n", 400, ""},
		{"# and @ (P11)", "GET / HTTP/1.1\r\nHost: cred.lab.test#@deny.lab.test\r\n\r\n", 400, ""},
		{"%2f and @ (P11)", "GET / HTTP/1.1\r\nHost: cred.lab.test%2f@deny.lab.test\r\n\r\n", 400, ""},
		{"%00 (P11)", "GET / HTTP/1.1\r\nHost: cred.lab.test%00deny.lab.test\r\n\r\n", 400, ""},
		{"userinfo in the target", "GET https://deny@cred.lab.test/ HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"TE and CL (P17)", "POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"TE twice", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"TE identity, chunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"TE with a tab inside", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"TE xchunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"TE in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"two lengths (P19)", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, ""},
		{"signed length (P19)", "POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\na", 400, ""},
		{"hex length (P19)", "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\na", 400, ""},
		{"joined lengths (P19)", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\na", 400, ""},
		{"endless length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\na", 400, ""},
		{"bare LF (P21)", "GET / HTTP/1.1\n" + strings.ReplaceAll(host, "\r", "") + "\n", 400, ""},
		{"bare LF in the header (P21)", "GET / HTTP/1.1\r\nX: a\n" + host + "\r\n", 400, ""},
		{"bare LF at the end (P21)", "GET / HTTP/1.1\r\n" + host + "\n", 400, ""},
		{"bare CR (P21)", "GET / HTTP/1.1\r\nX: a\rb\r\n" + host + "\r\n", 400, ""},
		{"NUL in a value (P23)", "GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", 400, ""},
		{"DEL in a value (P23)", "GET / HTTP/1.1\r\n" + host + "X: a\x7fb\r\n\r\n", 400, ""},
		{"space before the colon (P23)", "GET / HTTP/1.1\r\n" + host + "X : a\r\n\r\n", 400, ""},
		{"non-ASCII name (P23)", "GET / HTTP/1.1\r\n" + host + "Xü: a\r\n\r\n", 400, ""},
		{"a folded line", "GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n", 400, ""},
		{"no colon", "GET / HTTP/1.1\r\n" + host + "X\r\n\r\n", 400, ""},
		{"an empty name", "GET / HTTP/1.1\r\n" + host + ": x\r\n\r\n", 400, ""},
		{"Host shared (P25)", "GET / HTTP/1.1\r\nHost: shared.lab.test\r\n\r\n", 421, ""},
		{"Host with a dot at the end (C09)", "GET / HTTP/1.1\r\nHost: cred.lab.test.\r\n\r\n", 421, ""},
		{"Host with another port (C11)", "GET / HTTP/1.1\r\nHost: cred.lab.test:9443\r\n\r\n", 421, ""},
		{"Host as an address", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421, ""},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, ""},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, ""},
		{"Host twice", "GET / HTTP/1.1\r\n" + host + host + "\r\n", 400, ""},
		{"* with GET (P45)", "GET * HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"authority form with GET (P45)", "GET cred.lab.test:443 HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"another scheme", "GET ftp://cred.lab.test/ HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"HTTP/2 without TLS's word", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
		{"HTTP/0.9", "GET /\r\n", 400, ""},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n" + host + "\r\n", 400, ""},
		{"two spaces", "GET  / HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"a tab", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"a method of ours", "REFUSED / HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"TRACE to a granted host", "TRACE / HTTP/1.1\r\n" + host + "\r\n", 405, ""},
		{"a bad percent sign", "GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"NUL in the path", "GET /%00 HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"a backslash in the path", "GET /a\\b HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"a fragment", "GET /#x HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"a long URL (P49)", "GET /" + long + " HTTP/1.1\r\n" + host + "\r\n", 414, ""},
		{"a long name (P49)", "GET / HTTP/1.1\r\n" + host + long + ": x\r\n\r\n", 431, ""},
		{"many headers (P49)", "GET / HTTP/1.1\r\n" + host + strings.Repeat("a: b\r\n", 100000) + "\r\n", 431, ""},
	} {
		t.Run(p.name, func(t *testing.T) {
			seen = nil
			before := len(l.records.wait(t, 0))
			c := l.raw("cred.lab.test:443", true)
			began := time.Now()
			go c.send(p.send)
			status, body := c.answer()
			if status != p.status {
				t.Errorf("status %d, want %d: %s", status, p.status, body)
			}
			if took := time.Since(began); took >= handshakeLimit {
				t.Errorf("it took %v", took)
			}
			if got := strings.Join(seen, "\n"); got != p.seen {
				t.Errorf("outside arrived %q, want %q", got, p.seen)
			}
			rec := l.records.wait(t, before+1)[before]
			if (rec.Decision == "deny") != (p.seen == "") || *rec.Status != p.status || rec.Rule == "" {
				t.Errorf("recorded %+v", rec)
			}
			if strings.Contains(body, token) {
				t.Error("the token came back")
			}
			if p.status >= 400 && p.status != 405 && p.status != 421 {
				if _, err := c.r.ReadByte(); err == nil {
					t.Error("the connection stays open after something that is no request")
				}
			}
		})
	}
}

// A flaw in a body ends the connection, and what follows is never taken for a request.
func TestProbesInBodies(t *testing.T) {
	l := newLab(t, labOptions{})
	seen := make(chan string, 100)
	l.outside("plain.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.RequestURI
		io.Copy(io.Discard, r.Body)
	}))
	const head = "POST /first HTTP/1.1\r\nHost: plain.lab.test\r\nTransfer-Encoding: chunked\r\n\r\n"
	const next = "GET /smuggled HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n"
	for name, body := range map[string]string{
		"no size":         "\r\nabc\r\n0\r\n\r\n",
		"negative":        "-1\r\nabc\r\n0\r\n\r\n",
		"0x":              "0x3\r\nabc\r\n0\r\n\r\n",
		"space":           "3 \r\nabc\r\n0\r\n\r\n",
		"huge":            "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"bare LF":         "3\nabc\n0\n\n",
		"bare LF at last": "3\r\nabc\r\n0\r\n\n",
		"too short":       "3\r\nab\r\n0\r\n\r\n",
		"too long":        "3\r\nabcd\r\n0\r\n\r\n",
		"trailer":         "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
		"long line":       "3;" + strings.Repeat("x", 1000) + "\r\nabc\r\n0\r\n\r\n",
		"long trailer":    "3\r\nabc\r\n0\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := l.raw("plain.lab.test:443", true)
			go c.send(head + body + next)
			status, _ := c.answer()
			if status != 400 && status != 0 && status != 502 {
				t.Errorf("status %d", status)
			}
			if status, _ := c.answer(); status != 0 {
				t.Errorf("a second answer: %d", status)
			}
			for len(seen) > 0 {
				if uri := <-seen; uri != "/first" {
					t.Errorf("outside arrived %s", uri)
				}
			}
		})
	}
}

func TestKeepAliveForAnotherHost(t *testing.T) { // P35
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	l.outside("cred.lab.test:443", http.HandlerFunc(echo))
	c := l.raw("cred.lab.test:443", true)
	c.send("GET /1 HTTP/1.1\r\nHost: cred.lab.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: deny.lab.test\r\n\r\nGET /3 HTTP/1.1\r\nHost: cred.lab.test\r\n\r\n")
	for _, want := range []int{200, 421, 200} {
		if status, _ := c.answer(); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
	if recs := l.records.wait(t, 3); recs[1].Decision != "deny" || !strings.HasPrefix(recs[1].Rule, "conflict: ") || recs[1].Grant != nil {
		t.Errorf("%+v", recs[1])
	}
}

// What is about a connection, or what only we could know, is not passed on, and cannot change what we put in.
func TestHopByHop(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	var seen http.Header
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Header().Set("Alt-Svc", `h3=":443"`) // P51
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Keep-Alive", "timeout=5")
	}))
	c := l.raw("cred.lab.test:443", true)
	c.send("GET / HTTP/1.1\r\nHost: cred.lab.test\r\nConnection: Authorization, X-Api-Key, close, X-Mine\r\nX-Mine: 1\r\nX-Kept: 1\r\nX-Api-Key: k\r\n" +
		"Cookie: a=b\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n" +
		"X-HTTP-Method-Override: DELETE\r\nRange: bytes=0-3\r\nAccept-Encoding: gzip, br\r\nKeep-Alive: 5\r\nTE: trailers, deflate\r\n\r\n")
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Authorization": "Bearer " + token, "X-Kept": "1", "Accept-Encoding": "identity", "Te": "trailers"}
	for name, values := range seen {
		if len(values) != 1 || want[name] != values[0] {
			t.Errorf("outside arrived %s: %q", name, values)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("outside are missing: %v", want)
	}
	for _, name := range []string{"Alt-Svc", "X-Hop", "Keep-Alive", "Content-Type"} {
		if _, ok := answer.Header[name]; ok {
			t.Errorf("the sandbox got %s", name)
		}
	}
	if rec := l.records.wait(t, 1)[0]; !strings.HasSuffix(rec.Rule, "; removed foreign Cookie") {
		t.Errorf("rule %q", rec.Rule)
	}
}

func TestProxyRequests(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}, policy: policy.Config{Mode: policy.Strict, Allow: []string{"plain.lab.test"}}})
	l.outside("plain.lab.test:80", http.HandlerFunc(echo))
	l.outside("cred.lab.test:80", http.HandlerFunc(echo))
	address := l.door(egress.Target{Proxy: true})
	for _, p := range []struct {
		send   string
		status int
	}{
		{"GET http://plain.lab.test/x HTTP/1.1\r\nHost: plain.lab.test\r\nProxy-Connection: keep-alive\r\n\r\n", 200},
		{"GET http://plain.lab.test:80/x HTTP/1.1\r\nHost: PLAIN.lab.test\r\n\r\n", 200},
		{"GET http://cred.lab.test/ HTTP/1.1\r\nHost: cred.lab.test\r\n\r\n", 200}, // without a credential
		{"GET http://cred.lab.test/ HTTP/1.1\r\nHost: cred.lab.test\r\nX-Key: " + placeholder + "\r\n\r\n", 403},
		{"GET http://deny.lab.test/ HTTP/1.1\r\nHost: deny.lab.test\r\n\r\n", 407},
		{"GET http://deny.lab.test/ HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n", 421},
		{"GET http://127.1/ HTTP/1.1\r\nHost: 127.1\r\n\r\n", 407},
		{"GET http://[::ffff:127.0.0.1]/ HTTP/1.1\r\nHost: [::ffff:127.0.0.1]\r\n\r\n", 407},
		{"GET https://plain.lab.test/ HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n", 400}, // P39
		{"GET http://plain.lab.test:99999/ HTTP/1.1\r\nHost: plain.lab.test:99999\r\n\r\n", 400},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c := &rawConn{Conn: conn, t: t, r: newReader(conn)}
		c.send(p.send)
		if status, body := c.answer(); status != p.status || strings.Contains(body, token) {
			t.Errorf("%q: %d %s", p.send, status, body)
		}
		conn.Close()
	}
	if text := l.records.text(t); strings.Contains(text, token) || strings.Contains(text, placeholder) {
		t.Error("a token or a placeholder is recorded")
	}
}

// readGate gives everything that comes out of a gate, fed in pieces.
func readGate(text []byte, pieces func(io.Reader) io.Reader) ([]byte, *flaw) {
	g := &gate{Conn: readerConn{pieces(bytes.NewReader(text))}, patience: time.Minute}
	out, _ := io.ReadAll(g)
	return out, g.flaw
}

type readerConn struct{ io.Reader }

func (readerConn) Write(p []byte) (int, error)      { return len(p), nil }
func (readerConn) Close() error                     { return nil }
func (readerConn) LocalAddr() net.Addr              { return nil }
func (readerConn) RemoteAddr() net.Addr             { return nil }
func (readerConn) SetDeadline(time.Time) error      { return nil }
func (readerConn) SetReadDeadline(time.Time) error  { return nil }
func (readerConn) SetWriteDeadline(time.Time) error { return nil }

// What comes through a gate is what went in, or a flaw; net/http finds as many requests in it as the gate did; and it does
// not matter how it was cut.
func FuzzGate(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
		"POST /%20?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a:80\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x00\xff",
		"GET / HTTP/1.1\nHost: a\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		whole, flaw1 := readGate(text, func(r io.Reader) io.Reader { return r })
		slow, flaw2 := readGate(text, iotest.OneByteReader)
		if (flaw1 == nil) != (flaw2 == nil) {
			t.Fatalf("flaws %+v and %+v", flaw1, flaw2)
		}
		if flaw1 == nil && !bytes.Equal(whole, slow) {
			t.Fatalf("%q and %q", whole, slow)
		}
		passed := bytes.TrimSuffix(whole, []byte(refusedHead))
		if !bytes.HasPrefix(withoutEnds(text), withoutEnds(passed)) { // but for empty lines before a head
			t.Fatalf("%q came out of %q", passed, text)
		}
		sameReading(t, passed)
	})
}

func withoutEnds(text []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\n"), nil)
}

// sameReading reads with net/http what a gate has let through.
func sameReading(t *testing.T, text []byte) {
	r := newReader(bytes.NewReader(text))
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if request.Header.Get("Upgrade") != "" {
			return
		}
		if len(request.TransferEncoding) > 0 && request.Header.Get("Content-Length") != "" {
			t.Fatalf("two lengths in %q", text)
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
	}
}
