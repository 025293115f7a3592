package intercept

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"moat/internal/egress"
	"moat/internal/egress/http1"
)

const (
	pieceSize = 64 << 10 // about as much of a body is passed on at once
	smallSize = 8 << 10  // is what an answer has of memory, unless it fills that: thousands may wait for their next event
)

var errCoding = errors.New("the answer is coded in a way that was not asked for")

// maxEarly is how many informational answers a request may have.
const maxEarly = 16

var errEarly = errors.New("the server sends informational answers without end")

// early passes on informational answers (1xx), which may come as long as the answer itself has not been begun.
type early struct {
	mu   sync.Mutex
	n    int
	over bool
}

// trip sends a request in the version in which it came, and learns where it goes, and of informational answers.
func (x *exchange) trip(r *http.Request) (*http.Response, error) {
	defer x.early.end()
	dialled := func(conn net.Conn) { x.dialled.Store(below(conn)) }
	if r.ProtoMajor == 1 {
		return x.outside.one.Do(r, http1.Watch{Conn: dialled, Early: x.informational})
	}
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { dialled(info.Conn) },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			return x.informational(code, http.Header(header))
		},
	}
	return x.outside.two.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// informational passes on an informational answer.
func (x *exchange) informational(code int, header http.Header) error {
	e := &x.early
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n++; e.n > maxEarly {
		return errEarly
	}
	if e.over || code == http.StatusContinue {
		return nil
	}
	h := x.w.Header()
	x.copyHeader(h, header)
	x.w.WriteHeader(code)
	clear(h)
	return nil
}

// forward sends the request and passes on the answer.
func (x *exchange) forward(out *http.Request) {
	if x.r.ProtoMajor == 1 && out.Body != http.NoBody {
		_ = http.NewResponseController(x.w).EnableFullDuplex() // the server may answer before it has read everything
	}
	upgrade := x.upgrade()
	if upgrade != "" {
		if f := checkWebSocket(upgrade, x.r); f != nil {
			x.refuse(x.malformed(f))
			return
		}
	}
	answer, err := x.trip(out)
	if err != nil {
		x.unanswered(err)
		return
	}
	defer answer.Body.Close()
	if failed := x.bodyFailure(); failed != nil { // this is an answer to half of a request
		x.unanswered(failed)
		return
	}
	x.status = answer.StatusCode
	if x.grant != nil && (x.status == http.StatusUnauthorized || x.status == http.StatusForbidden) {
		x.config.Rejected(egress.Rejection{Grant: x.grant.Name, Host: x.host, Status: x.status})
	}
	switch {
	case answer.StatusCode == http.StatusSwitchingProtocols && upgrade != "":
		x.tunnel(out.Context(), answer, upgrade)
	case answer.StatusCode == http.StatusSwitchingProtocols:
		x.status = 0
		x.fail("the server is wrong", errors.New("it switched protocols without being asked"))
	default:
		x.pass(answer, upgrade != "")
	}
}

func (e *early) end() {
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
}

// unanswered says why there is no answer.
func (x *exchange) unanswered(err error) {
	var refused *egress.RefusedError
	switch {
	case errors.As(err, &refused):
		x.refuse(byPolicy(x, refused.Decision))
	case errors.Is(err, errLimit):
		x.refuse(byPolicy(x, x.config.Meter.Bytes(x.host, 0)))
	case x.ctx.Err() != nil:
		x.err, x.broken = errors.New("the client went away"), true
	case x.gate != nil && x.gate.step == stepBodyFlaw:
		x.refuse(x.malformed(x.gate.flaw))
	default:
		x.fail("no answer from "+x.host.String(), err)
	}
}

// pass passes on an answer.
func (x *exchange) pass(answer *http.Response, ends bool) {
	body, err := x.plain(answer)
	if err != nil {
		x.fail("the answer of "+x.host.String()+" cannot be passed on", err)
		return
	}
	h := x.w.Header()
	x.copyHeader(h, answer.Header)
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := h[name]; !ok {
			h[name] = nil // net/http would make one up
		}
	}
	announced := len(answer.Trailer)
	for name := range answer.Trailer {
		h.Add("Trailer", name)
	}
	if ends {
		h.Set("Connection", "close") // what follows the request is not HTTP
	}
	x.received = x.newCapture(answer.Header)
	x.w.WriteHeader(answer.StatusCode)
	if announced > 0 {
		_ = x.flush() // so that the body is chunked
	} else if ready, ok := answer.Body.(http1.Ready); answer.ContentLength != 0 && (!ok || !ready.Ready()) {
		body = x.hurryHead(body)
	}
	if err := x.copyBody(sink{x.w, x.flush}, body, answer.ContentLength); err != nil {
		x.err, x.broken = err, true
		return
	}
	x.passTrailer(answer.Trailer, announced)
}

// headDelay is how long the head of an answer waits for the beginning of the body, with which it shares a packet.
const headDelay = time.Millisecond

// hurried is a body whose head is passed on even if nothing of it comes.
type hurried struct {
	io.Reader
	timer *time.Timer

	mu   sync.Mutex // while the head is passed on
	read bool       // nothing is left to hurry
}

func (x *exchange) hurryHead(body io.Reader) *hurried {
	h := &hurried{Reader: body}
	h.timer = time.AfterFunc(headDelay, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.read {
			_ = x.flush()
		}
	})
	return h
}

func (h *hurried) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if !h.read {
		h.timer.Stop()
		h.mu.Lock()
		h.read = true
		h.mu.Unlock()
	}
	return n, err
}

// passTrailer passes on the trailer, which may have more than was announced.
func (x *exchange) passTrailer(trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	_ = x.flush()
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	secrets := x.secrets.Load()
	for name, values := range trailer {
		for _, value := range values {
			x.w.Header().Add(prefix+name, secrets.String(value))
		}
	}
}

func (x *exchange) flush() error { return http.NewResponseController(x.w).Flush() }

// copyHeader takes over the header of an answer, without what is about the connection outside, and without secrets.
func (x *exchange) copyHeader(to, from http.Header) {
	named := connectionOptions(from)
	secrets := x.secrets.Load()
	for name, values := range from {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Alt-Svc":
			continue
		}
		if slices.Contains(named, name) {
			continue
		}
		if secrets != nil {
			for n := range values {
				values[n] = secrets.String(values[n])
			}
			name = secrets.String(name)
		}
		to[name] = values
	}
}

// plain is the body of an answer in a form that can be searched.
func (x *exchange) plain(answer *http.Response) (io.Reader, error) {
	coding := strings.ToLower(strings.Join(answer.Header["Content-Encoding"], ","))
	if x.grant == nil || x.grant.Signs || coding == "" || coding == "identity" || answer.ContentLength == 0 || x.r.Method == http.MethodHead {
		return answer.Body, nil
	}
	var body io.Reader
	switch coding {
	case "gzip", "x-gzip":
		body = &unpacker{from: answer.Body, open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}
	case "deflate":
		body = &unpacker{from: answer.Body, open: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}
	default:
		return nil, fmt.Errorf("%w: %q", errCoding, coding)
	}
	answer.ContentLength = -1
	for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Content-Md5", "Digest", "Content-Digest"} {
		delete(answer.Header, name)
	}
	return body, nil
}

// unpacker opens a decoder with its first Read, so that the header of an answer does not wait for the body.
type unpacker struct {
	from io.Reader
	open func(io.Reader) (io.Reader, error)
	body io.Reader
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.body == nil {
		body, err := u.open(u.from)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, fmt.Errorf("unpack the answer: %w", err)
		}
		u.body = body
	}
	return u.body.Read(p)
}

// sink is where a body goes. What was written may wait until flush.
type sink struct {
	io.Writer
	flush func() error
}

// copyBody passes a body of a length, -1 if it is not known, on, each piece as it comes, without secrets.
func (x *exchange) copyBody(to sink, from io.Reader, length int64) error {
	small := x.pieces.Get().(*[]byte)
	defer x.pieces.Put(small)
	var large *[]byte
	secrets, source := x.secrets.Load(), x.dialled.Load()
	stream := secrets.Stream()
	buf, held, total := *small, 0, int64(0)
	if secrets.Longest() > len(buf)/4 {
		buf = make([]byte, 4*secrets.Longest())
	}
	for {
		n, err := readPiece(from, buf[held:], source)
		total += int64(n)
		end := errors.Is(err, io.EOF)
		start, done, again := stream.Filter(buf[:held+n], end)
		if piece := buf[start:done]; len(piece) > 0 {
			x.received.add(piece)
			wrote, failed := to.Write(piece)
			x.in.Add(int64(wrote))
			if failed != nil {
				return fmt.Errorf("pass the answer on: %w", failed)
			}
			if !x.config.Meter.Bytes(x.host, int64(wrote)).Allow {
				return errLimit
			}
		}
		rest := buf[again : held+n]
		if large == nil && held+n == len(buf) {
			large = x.buffers.Get().(*[]byte)
			defer x.buffers.Put(large)
			if len(*large) > len(buf) {
				buf = *large
			}
		}
		held = copy(buf, rest)
		if end {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if done > start && total != length {
			if err := to.flush(); err != nil {
				return fmt.Errorf("pass the answer on: %w", err)
			}
		}
	}
}

// readPiece reads what is there: more than once only as long as that does not wait.
func readPiece(from io.Reader, p []byte, source *bulk) (n int, err error) {
	for {
		var got int
		got, err = from.Read(p[n:])
		n += got
		if err != nil || got == 0 || n >= pieceSize || len(p)-n < fullRecord || !source.more() {
			return n, err
		}
	}
}
