package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// town is a server and a client of this package.
type town struct {
	*testing.T
	server *httptest.Server
	client *Client
	dials  atomic.Int64
}

func newTown(t *testing.T, secure bool, h http.HandlerFunc) *town {
	w := &town{T: t, server: httptest.NewUnstartedServer(h)}
	roots := x509.NewCertPool()
	if secure {
		w.server.StartTLS()
		roots.AddCert(w.server.Certificate())
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	w.client = NewClient(Config{
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			w.dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		TLS: &tls.Config{RootCAs: roots}, Handshake: time.Minute, Answer: time.Minute, Continue: time.Minute, Idle: time.Minute,
		MaxIdle: 10, MaxHead: 64 << 10,
	})
	t.Cleanup(w.client.CloseIdle)
	return w
}

// do asks, and returns the status, the body and the trailer of the answer.
func (w *town) do(method, path string, body io.Reader, edit ...func(*http.Request)) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, body)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range edit {
		e(r)
	}
	answer, err := w.client.Do(r, Watch{})
	if err != nil {
		return "error: " + err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Sprintf("%d %q broken", answer.StatusCode, text)
	}
	return fmt.Sprintf("%d %s %v", answer.StatusCode, text, answer.Trailer)
}

func answerAll(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/204":
		w.WriteHeader(http.StatusNoContent)
	case "/chunks":
		w.Header().Set("Trailer", "X-End")
		for _, text := range []string{"one ", "two"} {
			io.WriteString(w, text)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-End", "1")
	case "/close":
		w.Header().Set("Connection", "close")
		io.WriteString(w, "closed")
	case "/early":
		http.NewResponseController(w).EnableFullDuplex() // or it waits for the body first
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	default:
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %v %v %d %q", r.Method, r.URL, body, r.Trailer, err, r.ContentLength, r.Header.Get("X"))
	}
}

func TestExchanges(t *testing.T) {
	for _, secure := range []bool{false, true} {
		w := newTown(t, secure, answerAll)
		pipe := func(text string) io.Reader { return struct{ io.Reader }{strings.NewReader(text)} }
		for _, c := range []struct {
			method, path string
			body         io.Reader
			edit         func(*http.Request)
			want         string
		}{
			{"GET", "/x?y=%20z", nil, nil, `200 GET /x?y=%20z "" map[] <nil> 0 "" map[]`},
			{"HEAD", "/x", nil, nil, "200  map[]"},
			{"GET", "/204", nil, nil, "204  map[]"},
			{"GET", "/chunks", nil, nil, "200 one two map[X-End:[1]]"},
			{"POST", "/x", nil, nil, `200 POST /x "" map[] <nil> 0 "" map[]`},
			{"POST", "/x", strings.NewReader("body"), nil, `200 POST /x "body" map[] <nil> 4 "" map[]`},
			{"PUT", "/x", pipe("of unknown length"), nil, `200 PUT /x "of unknown length" map[] <nil> -1 "" map[]`},
			{"POST", "/x", pipe("t"), func(r *http.Request) { r.Trailer = http.Header{"X-Sum": {"42"}} }, `200 POST /x "t" map[X-Sum:[42]] <nil> -1 "" map[]`},
			{"POST", "/x", strings.NewReader("wanted"), func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, `200 POST /x "wanted" map[] <nil> 6 "" map[]`},
			{"GET", "/x", nil, func(r *http.Request) { r.Header["X"] = []string{"a b\tc"} }, `200 GET /x "" map[] <nil> 0 "a b\tc" map[]`},
		} {
			var edits []func(*http.Request)
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			if got := w.do(c.method, c.path, c.body, edits...); got != c.want {
				t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
			}
		}
		if n := w.dials.Load(); n != 1 {
			t.Errorf("%d connections for requests in a row", n)
		}
		for range 3 {
			if got := w.do("GET", "/close", nil); got != "200 closed map[]" {
				t.Errorf("%q", got)
			}
		}
		if n := w.dials.Load(); n != 3 {
			t.Errorf("%d connections, of which the server closed 3", n)
		}
	}
}

// What cannot be said in one reading is not sent.
func TestMalformed(t *testing.T) {
	w := newTown(t, false, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	for name, edit := range map[string]func(*http.Request){
		"value with CR LF": func(r *http.Request) { r.Header["X"] = []string{"a\r\nHost: b"} },
		"value with NUL":   func(r *http.Request) { r.Header["X"] = []string{"a\x00"} },
		"name with space":  func(r *http.Request) { r.Header["X Y"] = []string{"a"} },
		"name with colon":  func(r *http.Request) { r.Header["X:Y"] = []string{"a"} },
		"method":           func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\n\r\n" },
		"host":             func(r *http.Request) { r.Host = "a b" },
		"target":           func(r *http.Request) { r.URL.Opaque = "/a b" },
		"query":            func(r *http.Request) { r.URL.RawQuery = "a\r\nb" },
	} {
		if got := w.do("GET", "/", nil, edit); !strings.Contains(got, ErrMalformed.Error()) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A body that is not what it says, or cannot be read, ends its request; nothing of it is taken for another one.
func TestBrokenBodies(t *testing.T) {
	var whole atomic.Int64
	w := newTown(t, false, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			whole.Add(1)
		}
	})
	failing := iotest.ErrReader(errors.New("broken"))
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   string
	}{
		"short":  {strings.NewReader("abc"), 5, errShort.Error()},
		"long":   {strings.NewReader("abcdef"), 3, errLong.Error()},
		"broken": {io.MultiReader(strings.NewReader("abc"), failing), -1, "broken"},
	} {
		if got := w.do("POST", "/", struct{ io.Reader }{c.body}, func(r *http.Request) { r.ContentLength = c.length }); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if whole.Load() > 0 {
		t.Error("the server took a broken body for a whole one")
	}
}

// An answer may come before the request is sent; what is left of that is not waited for.
func TestEarlyAnswer(t *testing.T) {
	w := newTown(t, false, answerAll)
	body, _ := io.Pipe()
	if got := w.do("POST", "/early", body); got != "413  map[]" {
		t.Errorf("%q", got)
	}
	if got := w.do("GET", "/204", nil); got != "204  map[]" {
		t.Errorf("afterwards: %q", got)
	}
	if n := w.dials.Load(); n != 2 {
		t.Errorf("%d connections: one that carries half a request is used again", n)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/early", &unread{t})
	r.ContentLength = 3
	r.Header.Set("Expect", "100-continue")
	answer, err := w.client.Do(r, Watch{})
	if err != nil || answer.StatusCode != 413 {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
}

// unread must not be read.
type unread struct{ t *testing.T }

func (u *unread) Read([]byte) (int, error) {
	u.t.Error("a body is read that the server did not want")
	return 0, io.EOF
}

func (u *unread) Close() error { return nil }

// rawServer answers each connection with a script: it reads a head, then writes the next text; "" closes.
func rawServer(t *testing.T, connections ...[]string) *Client {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for _, texts := range connections {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for _, text := range texts {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					io.WriteString(conn, text)
				}
			}()
		}
	}()
	c := NewClient(Config{
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		},
		Answer: time.Minute, Idle: time.Minute, MaxIdle: 10, MaxHead: 4 << 10,
	})
	t.Cleanup(c.CloseIdle)
	return c
}

func ask(t *testing.T, c *Client, method string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	var early []int
	answer, err := c.Do(r, Watch{Early: func(status int, _ http.Header) error {
		if early = append(early, status); len(early) > 3 {
			return errors.New("too many")
		}
		return nil
	}})
	if err != nil {
		return "error"
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "broken"
	}
	return fmt.Sprint(answer.StatusCode, " ", string(text), " ", early)
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A kept connection that its server has closed is no error to a request that may be repeated; one that a server has sent
// something on, unasked, is not used again.
func TestKeptConnections(t *testing.T) {
	c := rawServer(t, []string{fine}, []string{fine})
	if got := ask(t, c, "GET") + ask(t, c, "GET"); got != "200 ok []200 ok []" {
		t.Errorf("closed between two requests: %q", got)
	}
	c = rawServer(t, []string{fine, ""}, []string{fine})
	if got := ask(t, c, "GET") + ask(t, c, "GET"); got != "200 ok []200 ok []" {
		t.Errorf("closed instead of an answer: %q", got)
	}
	c = rawServer(t, []string{fine, ""}, []string{fine})
	if got := ask(t, c, "GET") + ask(t, c, "DELETE"); got != "200 ok []error" {
		t.Errorf("closed instead of an answer to what may have had an effect: %q", got)
	}
	c = rawServer(t, []string{fine + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", fine}, []string{fine})
	if got := ask(t, c, "GET") + ask(t, c, "GET"); got != "200 ok []200 ok []" {
		t.Errorf("an answer that nobody asked for: %q", got)
	}
}

func TestAnswers(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + fine:                            "200 ok [103]",
		"HTTP/1.1 100 Continue\r\n\r\n" + fine:                                          "200 ok []",
		strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 9) + fine:                     "error",
		"HTTP/1.0 200 OK\r\n\r\nto the end":                                             "200 to the end []",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc":                               "broken",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n":             "broken",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 8<<10) + "\r\n\r\n":              "error",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab":           "error",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n": "200 ok []",
		"no HTTP\r\n\r\n": "error",
		"":                "error",
	} {
		if got := ask(t, rawServer(t, []string{text}), "GET"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The context ends an exchange at any point.
func TestCancel(t *testing.T) {
	w := newTown(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answer" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	for _, path := range []string{"/answer", "/silence"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", w.server.URL+path, nil)
		if path == "/silence" {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		answer, err := w.client.Do(r, Watch{})
		cancel()
		if err == nil {
			_, err = io.ReadAll(answer.Body)
			answer.Body.Close()
		}
		if err == nil || path == "/silence" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// fake is a connection that gives a text, byte by byte or at once, and then ends.
type fake struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (f *fake) Read(p []byte) (int, error)      { return f.in.Read(p) }
func (f *fake) Write(p []byte) (int, error)     { return f.out.Write(p) }
func (f *fake) Close() error                    { return nil }
func (f *fake) SetReadDeadline(time.Time) error { return nil }
func (f *fake) CloseWrite() error               { return nil }

// FuzzAnswer: whatever a server says, an answer is read as net/http reads it, or is an error; and it does not matter how it
// was cut.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(fine + fine))
	f.Add([]byte("HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 304 \r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got [2]string
		for n, cut := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			c := NewClient(Config{
				Dial:    func(context.Context, string) (net.Conn, error) { return &fake{in: cut(bytes.NewReader(text))}, nil },
				MaxHead: 1 << 20,
			})
			got[n] = ask(t, c, "GET")
		}
		if got[0] != got[1] {
			t.Fatalf("%q and %q from %q", got[0], got[1], text)
		}
	})
}

// FuzzWriter: whatever an answer is made of, it is one answer to whoever reads it, and the whole one.
func FuzzWriter(f *testing.F) {
	f.Add(200, "X-A", "b", "body", uint8(3))
	f.Add(304, "Content-Length", "4", "", uint8(0))
	f.Add(200, "Trailer:X-A", "b\r\nc", "body", uint8(1))
	f.Fuzz(func(t *testing.T, status int, name, value, body string, pieces uint8) {
		if status < 200 || status > 999 || len(body) > 1<<16 {
			return
		}
		conn := new(fake)
		r := &http.Request{Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: http.NoBody}
		w := NewWriter(conn, conn, nil, r)
		w.Header()[name] = []string{value}
		w.WriteHeader(status)
		rest := body
		for range pieces {
			n, _ := w.Write([]byte(rest[:len(rest)/2]))
			rest = rest[n:]
		}
		n, _ := w.Write([]byte(rest))
		written := len(body) - len(rest) + n
		_, err := w.Finish()
		in := bufio.NewReader(&conn.out)
		answer, failed := http.ReadResponse(in, r)
		if failed != nil {
			if err == nil {
				t.Fatalf("%v from %q", failed, conn.out.Bytes())
			}
			return
		}
		text, failed := io.ReadAll(answer.Body)
		if err == nil && (failed != nil || string(text) != body[:written] || answer.StatusCode != status) {
			t.Fatalf("%d %q %v, want %d %q", answer.StatusCode, text, failed, status, body[:written])
		}
		if rest, _ := io.ReadAll(in); err == nil && len(rest) > 0 {
			t.Fatalf("%q behind the answer", rest)
		}
	})
}
