package intercept

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"moat/internal/egress"
)

// frames sends one request in HTTP/2, field by field, and returns the status of the answer; 0 if the stream or the
// connection is ended instead.
func (l *lab) frames(name string, body string, fields ...string) int {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.door(l.target(name, true)))
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	host, _, _ := net.SplitHostPort(name)
	secure := tls.Client(conn, &tls.Config{RootCAs: l.trust(), ServerName: host, NextProtos: []string{"h2"}})
	secure.SetDeadline(time.Now().Add(60 * time.Second))
	io.WriteString(secure, http2.ClientPreface)
	f := http2.NewFramer(secure, secure)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.WriteSettings()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range fields {
		at := strings.Index(field[1:], ":") + 1
		e.WriteField(hpack.HeaderField{Name: field[:at], Value: field[at+1:]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == ""})
	if body != "" {
		f.WriteData(1, true, []byte(body))
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, _ := strconv.Atoi(frame.PseudoValue("status"))
			return status
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		}
	}
}

// The probes that HTTP/2 can say too.
func TestProbesInTwo(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	arrived := make(chan string, 10)
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- r.Method + " " + r.Host + " " + r.RequestURI + " " + string(body)
	}))
	get, https := ":method:GET", ":scheme:https"
	cred, root := ":authority:cred.lab.test", ":path:/"
	for _, p := range []struct {
		name   string
		fields []string
		body   string
		status int // 0: the stream is ended
		seen   string
	}{
		{"ordinary", []string{get, https, cred, ":path:/a?b"}, "", 200, "GET cred.lab.test /a?b "},
		{"port said", []string{get, https, ":authority:cred.lab.test:443", root}, "", 200, "GET cred.lab.test / "},
		{"Host besides", []string{get, https, cred, root, "host:cred.lab.test"}, "", 200, "GET cred.lab.test / "},
		{"Host instead", []string{get, https, root, "host:cred.lab.test"}, "", 200, "GET cred.lab.test / "},
		{"options *", []string{":method:OPTIONS", https, cred, ":path:*"}, "", 200, "OPTIONS cred.lab.test * "},
		{"length", []string{":method:POST", https, cred, root, "content-length:3"}, "abc", 200, "POST cred.lab.test / abc"},

		{"another authority (P25)", []string{get, https, ":authority:shared.lab.test", root}, "", 421, ""},
		{"another Host", []string{get, https, cred, root, "host:shared.lab.test"}, "", 421, ""},
		{"another port", []string{get, https, ":authority:cred.lab.test:9443", root}, "", 421, ""},
		{"no authority", []string{get, https, root}, "", 400, ""},
		{"userinfo", []string{get, https, ":authority:x@cred.lab.test", root}, "", 0, ""},
		{"comma", []string{get, https, ":authority:cred.lab.test,x", root}, "", 400, ""},
		{"absolute path for another", []string{get, https, cred, ":path:https://deny.lab.test/"}, "", 0, ""},
		{"* with GET", []string{get, https, cred, ":path:*"}, "", 400, ""},
		{"path without slash", []string{get, https, cred, ":path:x"}, "", 0, ""},
		{"fragment", []string{get, https, cred, ":path:/#x"}, "", 400, ""},
		{"NUL in the path", []string{get, https, cred, ":path:/%00"}, "", 400, ""},
		{"CONNECT (P05)", []string{":method:CONNECT", ":authority:cred.lab.test"}, "", 405, ""},
		{"extended CONNECT", []string{":method:CONNECT", ":protocol:websocket", https, cred, root}, "", 0, ""},
		{"Connection", []string{get, https, cred, root, "connection:x"}, "", 400, ""},
		{"Transfer-Encoding", []string{":method:POST", https, cred, root, "transfer-encoding:chunked"}, "abc", 400, ""},
		{"two lengths", []string{":method:POST", https, cred, root, "content-length:3", "content-length:3"}, "abc", 400, ""},
		{"signed length", []string{":method:POST", https, cred, root, "content-length:+3"}, "abc", 400, ""},
		{"upper case", []string{get, https, cred, root, "X-Upper:1"}, "", 0, ""},
		{"NUL in a value", []string{get, https, cred, root, "x:a\x00b"}, "", 0, ""},
		{"CR LF in a value", []string{get, https, cred, root, "x:a\r\nauthorization: y"}, "", 0, ""},
	} {
		status := l.frames("cred.lab.test:443", p.body, p.fields...)
		if status != p.status && (p.status != 0 && p.status != 400 || status != 0 && status != 400) {
			t.Errorf("%s: status %d, want %d", p.name, status, p.status)
		}
		seen := ""
		if len(arrived) > 0 {
			seen = <-arrived
		}
		if seen != p.seen {
			t.Errorf("%s: outside arrived %q, want %q", p.name, seen, p.seen)
		}
	}
	if status := l.frames("cred.lab.test:443", "abcd", ":method:POST", https, cred, root, "content-length:3"); status == 200 {
		t.Error("a body that is longer than it says is passed on")
	}
}

// When the sandbox has closed its connections, none stays open outside.
func TestNothingStaysOpen(t *testing.T) {
	l := newLab(t, labOptions{})
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	none := make(chan struct{}, 100)
	changed := func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open[c] = true
		case http.StateClosed:
			delete(open, c)
			if len(open) == 0 {
				none <- struct{}{}
			}
		}
	}
	l.connState = changed
	l.outside("plain.lab.test:443", http.HandlerFunc(echo))
	var clients []*http.Client
	for range 20 {
		c := l.client("plain.lab.test:443", false)
		get(t, c, "https://plain.lab.test/")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	select {
	case <-none:
	case <-time.After(60 * time.Second):
		t.Errorf("%d connections stay open", len(open))
	}
}
