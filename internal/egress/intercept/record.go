package intercept

import (
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"moat/internal/egress"
	"moat/internal/journal"
)

// maxCapture is how much of a body is recorded.
const maxCapture = 8 << 10

// describe begins the record.
func (x *exchange) describe() {
	hidden := x.hidden.Load()
	x.rec = journal.Request{
		T: x.began.UTC(), Kind: journal.KindHTTP, Method: x.r.Method, Host: x.host.String(), SNI: x.sni,
		Protocol: x.r.Proto, Decision: journal.Allowed, Rule: x.decision.Rule, Address: x.asked(),
	}
	if x.r.ProtoMajor == 2 {
		x.rec.Protocol = "h2"
	}
	if x.gate != nil && x.r.Method == refusedVerb {
		x.rec.Method = ""
	}
	path := x.path
	if path == "" {
		path = "/"
	}
	u := authority(x.host, x.port, x.secure()) + path
	if x.query != "" {
		u += "?" + x.query
	}
	if x.rec.URL = "http://" + hidden.String(u); x.secure() {
		x.rec.URL = "https://" + hidden.String(u)
	}
	if x.config.Capture >= egress.CaptureHeaders {
		x.rec.RequestHeaders = x.recordedHeader(x.r.Header)
		x.sent = x.newCapture(x.r.Header)
	}
}

// finish completes the record.
func (x *exchange) finish() {
	took := float64(time.Since(x.began)) / float64(time.Millisecond)
	x.rec.ID, x.rec.DurationMS = x.id, &took
	if x.status != 0 {
		x.rec.Status = &x.status
	}
	x.rec.BytesIn, x.rec.BytesOut = x.in.Load(), x.out.Load()
	if conn := x.dialled.Load(); conn != nil {
		x.rec.Address = conn.addr
	}
	if x.err != nil {
		text := x.hidden.Load().String(x.err.Error())
		x.rec.Error = &text
	}
	if x.config.Capture >= egress.CaptureHeaders {
		x.rec.ResponseHeaders = x.recordedHeader(x.w.Header())
	}
	var cut, cutToo bool
	x.rec.RequestBody, cut = x.sent.text(x)
	x.rec.ResponseBody, cutToo = x.received.text(x)
	x.rec.Truncated = cut || cutToo
	x.config.Recorder.End(x.rec)
}

// recordedHeader is a header without secrets, without placeholders, and without what else lets somebody in.
func (x *exchange) recordedHeader(from http.Header) http.Header {
	hidden := x.hidden.Load()
	to := make(http.Header, len(from))
	for name, values := range from {
		private := authHeader(name) || name == "Proxy-Authorization" || name == "Set-Cookie"
		for _, value := range values {
			if private {
				value = "[not recorded]"
			}
			to[hidden.String(name)] = append(to[hidden.String(name)], hidden.String(value))
		}
	}
	return to
}

// capture keeps the beginning of a text body. The nil capture keeps nothing.
type capture struct {
	mu   sync.Mutex
	kept []byte
	more bool
}

// newCapture returns a capture if bodies of this kind are recorded.
func (x *exchange) newCapture(h http.Header) *capture {
	if x.config.Capture < egress.CaptureBodies || h.Get("Content-Encoding") != "" || !textual(h.Get("Content-Type")) {
		return nil
	}
	return new(capture)
}

func textual(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	for _, part := range []string{"json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "graphql"} {
		if strings.Contains(kind, part) {
			return true
		}
	}
	return strings.HasPrefix(kind, "text/")
}

func (c *capture) add(p []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(p), maxCapture-len(c.kept))
	c.kept = append(c.kept, p[:n]...)
	c.more = c.more || n < len(p)
}

// text is what was kept, without secrets: also without one that is cut off at the end.
func (c *capture) text(x *exchange) (text *string, cut bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := x.hidden.Load().Bytes(slices.Clone(c.kept), c.more)
	s := strings.ToValidUTF8(string(kept), string(utf8.RuneError))
	return &s, c.more
}

// below is the connection to the outside under one that may have TLS.
func below(conn net.Conn) *bulk {
	if c, ok := conn.(*corking); ok {
		return c.below
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	b, _ := conn.(*bulk)
	return b
}
