package intercept

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"moat/internal/egress"
	"moat/internal/policy"
)

// inBoth runs a test with a client that speaks HTTP/1.1, and with one that speaks HTTP/2.
func inBoth(t *testing.T, run func(t *testing.T, two bool)) {
	t.Run("one", func(t *testing.T) { run(t, false) })
	t.Run("two", func(t *testing.T) { run(t, true) })
}

// Each event is passed on before the next one exists.
func TestEvents(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}, capture: egress.CaptureBodies})
		next := make(chan string)
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for event := range next {
				io.WriteString(w, event)
				w.(http.Flusher).Flush()
			}
		}))
		answer, err := l.client("cred.lab.test:443", two).Get("https://cred.lab.test/events")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var all strings.Builder
		for n := range 20 {
			event := fmt.Sprintf("data: event %d of many\n\n", n)
			next <- event
			got := make([]byte, len(event))
			if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != event {
				t.Fatalf("%q %v", got, err)
			}
			all.WriteString(event)
		}
		close(next)
		if rest, err := io.ReadAll(answer.Body); err != nil || len(rest) > 0 {
			t.Errorf("%q %v", rest, err)
		}
		rec := l.records.wait(t, 1)[0]
		if rec.ResponseBody == nil || *rec.ResponseBody != all.String() || rec.Truncated || rec.BytesIn != int64(all.Len()) {
			t.Errorf("%+v", rec)
		}
	})
}

// A secret is taken out however the server cuts it, in bodies, headers and trailers, and what is recorded of it too.
func TestScrubbing(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}, capture: egress.CaptureBodies})
		encoded := base64.StdEncoding.EncodeToString([]byte("x:" + token))
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Location", "https://elsewhere.lab.test/?t="+token)
			w.Header().Set("X-"+token, "1")
			w.Header().Set("Trailer", "X-End")
			for _, text := range []string{"before ", token, " ", encoded, " ", fmt.Sprintf("%x", token), " after"} {
				for _, b := range []byte(text) {
					w.Write([]byte{b})
					w.(http.Flusher).Flush()
				}
			}
			w.Header().Set("X-End", token)
		}))
		answer, body := get(t, l.client("cred.lab.test:443", two), "https://cred.lab.test/")
		if len(body) != len("before   after ")+len(token)+len(encoded)+2*len(token) || strings.Contains(body, token[3:]) ||
			strings.Contains(body, encoded[8:]) || strings.Contains(body, hexOf(token)[3:]) || strings.Count(body, "*") < 3*len(token) {
			t.Errorf("%q", body)
		}
		masked := strings.Repeat("*", len(token))
		if answer.Header.Get("Location") != "https://elsewhere.lab.test/?t="+masked || answer.Trailer.Get("X-End") != masked {
			t.Errorf("%v %v", answer.Header, answer.Trailer)
		}
		if text := fmt.Sprint(answer.Header, l.records.text(t)); strings.Contains(text, token) || strings.Contains(text, encoded[6:20]) {
			t.Error(text)
		}
	})
}

func TestTrailers(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as gRPC does
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			buf := make([]byte, 100)
			for { // one message back for each that comes
				n, err := r.Body.Read(buf)
				w.Write(buf[:n])
				w.(http.Flusher).Flush()
				if err != nil {
					break
				}
			}
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", r.Trailer.Get("X-Sum")+r.Trailer.Get("X-Api-Key"))
		}))
		in, out := io.Pipe()
		r, _ := http.NewRequest("POST", "https://cred.lab.test/pkg.Service/Method", in)
		r.Trailer = http.Header{"X-Sum": nil, "X-Api-Key": nil}
		r.Header.Set("Te", "trailers")
		answer, err := l.client("cred.lab.test:443", two).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		for _, message := range []string{"one", "two", "three"} {
			io.WriteString(out, message)
			got := make([]byte, len(message))
			if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != message {
				t.Fatalf("%q %v", got, err)
			}
		}
		r.Trailer.Set("X-Sum", "42")
		r.Trailer.Set("X-Api-Key", "foreign")
		out.Close()
		if rest, err := io.ReadAll(answer.Body); err != nil || len(rest) > 0 {
			t.Fatalf("%q %v", rest, err)
		}
		if answer.Trailer.Get("Grpc-Status") != "0" || answer.Trailer.Get("Grpc-Message") != "42" {
			t.Errorf("%v", answer.Trailer)
		}
	})
}

func TestInformational(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			if r.URL.Path == "/refuse" {
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			io.Copy(w, r.Body)
		}))
		c := l.client("cred.lab.test:443", two)
		c.Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
		for path, want := range map[string]string{"/": "200 body", "/refuse": "417 "} {
			var early []int
			body := &observed{Reader: strings.NewReader("body")}
			r, _ := http.NewRequest("POST", "https://cred.lab.test"+path, body)
			r.ContentLength = 4
			r.Header.Set("Expect", "100-continue")
			r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if code == 103 && h.Get("Link") != "" {
						early = append(early, code)
					}
					return nil
				},
			}))
			answer, text := do(t, c, r)
			if got := strconv.Itoa(answer.StatusCode) + " " + text; got != want || len(early) != 1 || answer.Header.Get("Link") != "" {
				t.Errorf("%s: %q, early %v, %v", path, got, early, answer.Header)
			}
			if path == "/refuse" && !two && body.read {
				t.Error("the body was sent although the server did not want it")
			}
		}
	})
}

type observed struct {
	io.Reader
	read bool
}

func (o *observed) Read(p []byte) (int, error) {
	o.read = true
	return o.Reader.Read(p)
}

// Who goes away ends the request outside.
func TestCancel(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{})
		ended := make(chan error, 1)
		l.outside("plain.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			ended <- r.Context().Err()
		}))
		ctx, cancel := context.WithCancel(context.Background())
		r, _ := http.NewRequestWithContext(ctx, "GET", "https://plain.lab.test/", nil)
		answer, err := l.client("plain.lab.test:443", two).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		cancel()
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Fatal("the request outside goes on")
		}
		if rec := l.records.wait(t, 1)[0]; rec.Error == nil {
			t.Errorf("%+v", rec)
		}
	})
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Large bodies go through, both ways, and are not kept.
func TestLarge(t *testing.T) {
	const size = 24 << 20
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}, capture: egress.CaptureBodies})
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("X-Got", strconv.FormatInt(n, 10))
			io.Copy(w, io.LimitReader(zeros{}, size))
		}))
		r, _ := http.NewRequest("PUT", "https://cred.lab.test/", io.LimitReader(zeros{}, size))
		r.ContentLength = size
		r.Header.Set("Content-Type", "text/plain")
		answer, err := l.client("cred.lab.test:443", two).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		n, err := io.Copy(io.Discard, answer.Body)
		if err != nil || n != size || answer.Header.Get("X-Got") != strconv.Itoa(size) {
			t.Errorf("%d bytes down, %s up, %v", n, answer.Header.Get("X-Got"), err)
		}
		rec := l.records.wait(t, 1)[0]
		if rec.BytesIn != size || rec.BytesOut != size || !rec.Truncated || len(*rec.ResponseBody) != maxCapture || len(*rec.RequestBody) != maxCapture {
			t.Errorf("%+v", rec)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc > 100<<20 {
			t.Errorf("%d MB on the heap", m.HeapAlloc>>20)
		}
	})
}

// A server that speaks WebSocket as far as this is about it: after the handshake it echoes bytes.
func webSocket(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/200":
		io.WriteString(w, "no WebSocket")
		return
	case "/426":
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + acceptGUID))
	accept := base64.StdEncoding.EncodeToString(sum[:])
	if r.URL.Path == "/wrong" {
		accept = "wrong"
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	protocol := r.Header.Get("Upgrade")
	if r.URL.Path == "/other" {
		protocol = "other"
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\nX-Auth: %s\r\n\r\nhello %s",
		protocol, accept, r.Header.Get("Authorization"), r.Header.Get("Sec-Websocket-Extensions"))
	io.Copy(conn, buffered)
}

const webSocketHead = "GET %s HTTP/1.1\r\nHost: cred.lab.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func TestWebSocket(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	l.outside("cred.lab.test:443", http.HandlerFunc(webSocket))
	c := l.raw("cred.lab.test:443", true)
	c.send(fmt.Sprintf(webSocketHead, "/"))
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil || answer.StatusCode != 101 || answer.Header.Get("X-Auth") != "Bearer "+strings.Repeat("*", len(token)) {
		t.Fatalf("%v %v", answer, err)
	}
	// What looks like a request is not one (P33), and a secret does not come back.
	for _, text := range []string{"hello ", "GET /second HTTP/1.1\r\nHost: cred.lab.test\r\n\r\n", "\x00\xff binary"} {
		if text != "hello " {
			c.send(text)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != text {
			t.Fatalf("%q %v", got, err)
		}
	}
	c.send("<" + token + ">")
	got := make([]byte, len(token)+2)
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "<"+strings.Repeat("*", len(token))+">" {
		t.Fatalf("%q %v", got, err)
	}
	if len(l.records.wait(t, 0)) != 0 {
		t.Error("the record is complete before its end")
	}
	c.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	rec := l.records.wait(t, 1)[0]
	if rec.Protocol != "websocket" || *rec.Status != 101 || rec.BytesIn == 0 || rec.BytesOut == 0 || rec.Error != nil {
		t.Errorf("%+v", rec)
	}
}

func TestUpgradeThatIsNone(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	l.outside("cred.lab.test:443", http.HandlerFunc(webSocket))
	for path, want := range map[string]int{"/200": 200, "/426": 426, "/wrong": 502, "/other": 502} {
		c := l.raw("cred.lab.test:443", true)
		c.send(fmt.Sprintf(webSocketHead, path) + "GET /second HTTP/1.1\r\nHost: cred.lab.test\r\n\r\n")
		if status, _ := c.answer(); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
		if status, _ := c.answer(); status != 0 {
			t.Errorf("%s: a second answer, %d", path, status)
		}
	}
	c := l.raw("cred.lab.test:443", true)
	c.send(strings.Replace(fmt.Sprintf(webSocketHead, "/"), "dGhlIHNhbXBsZSBub25jZQ==", "short", 1))
	if status, _ := c.answer(); status != 400 {
		t.Errorf("an invalid key: %d", status)
	}
}

// Compressed answers of a granted host are unpacked, since nobody could find a secret in them; what cannot be unpacked is
// refused.
func TestCoding(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
		l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			coding := r.URL.Query().Get("coding")
			w.Header().Set("Content-Encoding", coding)
			w.Header().Set("Content-Type", "text/plain")
			body := pack(coding, []byte("the token is "+token+"."))
			if r.URL.Query().Has("broken") {
				body = body[:len(body)/2]
			}
			w.Write(body)
		}))
		c := l.client("cred.lab.test:443", two)
		accept := func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip, br, zstd") }
		for _, coding := range []string{"gzip", "deflate"} {
			answer, body := get(t, c, "https://cred.lab.test/?coding="+coding, accept)
			if body != "the token is "+strings.Repeat("*", len(token))+"." || answer.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s: %q %v", coding, body, answer.Header)
			}
		}
		for _, coding := range []string{"br", "zstd", "gzip, gzip", "x"} {
			if answer, _ := get(t, c, "https://cred.lab.test/?coding="+strings.ReplaceAll(coding, " ", "%20"), accept); answer.StatusCode != 502 {
				t.Errorf("%s: %d", coding, answer.StatusCode)
			}
		}
		answer, err := c.Get("https://cred.lab.test/?coding=gzip&broken")
		if err == nil {
			defer answer.Body.Close()
			_, err = io.ReadAll(answer.Body)
		}
		if err == nil {
			t.Error("half of a compressed answer seems whole")
		}
	})
}

// What unpacks to a thousand times its size passes without being kept; the client decides when it has enough.
func TestBomb(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	bomb := bytes.Repeat(pack("gzip", make([]byte, 4<<20)), 50)
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb)
	}))
	answer, err := l.client("cred.lab.test:443", false).Get("https://cred.lab.test/")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, answer.Body, 50<<20); err != nil {
		t.Error(n, err)
	}
	answer.Body.Close()
	if rec := l.records.wait(t, 1)[0]; rec.Error == nil || rec.BytesIn > 190<<20 {
		t.Errorf("%+v", rec)
	}
}

func TestLimits(t *testing.T) {
	l := newLab(t, labOptions{policy: policy.Config{Limits: policy.Limits{Bytes: 1 << 20, Requests: 3}}})
	l.outside("plain.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		io.Copy(w, io.LimitReader(zeros{}, int64(n)))
	}))
	c := l.client("plain.lab.test:443", false)
	if answer, body := get(t, c, "https://plain.lab.test/?n=1000"); answer.StatusCode != 200 || len(body) != 1000 {
		t.Error(answer.StatusCode, len(body))
	}
	answer, err := c.Get("https://plain.lab.test/?n=10000000")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, answer.Body); err == nil || n > 2<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	answer.Body.Close()
	if answer, body := get(t, c, "https://plain.lab.test/?n=1"); answer.StatusCode != 403 || !strings.Contains(body, "network.limits") {
		t.Error(answer.StatusCode, body)
	}
	if rec := l.records.wait(t, 3)[1]; rec.Error == nil || !strings.Contains(*rec.Error, errLimit.Error()) {
		t.Errorf("%+v", rec)
	}
}

var errTest = errors.New("the credential is expired: " + token)
