package http1

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// Corker may be implemented by a connection: what is written between Cork and Uncork may wait for Uncork.
type Corker interface {
	Cork()
	Uncork() error
}

// Writer writes one answer. It is an http.ResponseWriter, and an http.ResponseController can flush it and take the
// connection over. Fields whose value is nil are left out, as are those that HTTP cannot say; none is made up but those that
// say where the answer ends. Trailers are announced or prefixed as net/http has it.
//
// What is written waits until Flush, until it is large, or until Finish. Its methods may be called by any number of
// goroutines; who hijacks the connection has it alone.
type Writer struct {
	conn   net.Conn // where the answer is written
	owner  net.Conn // what Hijack returns
	read   *bufio.Reader
	r      *http.Request
	header http.Header

	mu       sync.Mutex
	status   int // 0: there is no final answer yet
	length   int64
	chunked  bool
	bare     bool // the answer has no body, whatever is written
	last     bool // the connection ends with this answer
	expected bool // the client waits for Continue before it sends its body
	written  int64
	trailer  []string // announced
	waiting  *buffer
	hijacked bool
	err      error // the first
}

// NewWriter returns the Writer of the answer to r, which was read from read. owner is what Hijack returns.
func NewWriter(conn, owner net.Conn, read *bufio.Reader, r *http.Request) *Writer {
	w := &Writer{conn: conn, owner: owner, read: read, r: r, header: make(http.Header), length: -1}
	w.expected = r.Body != http.NoBody && httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
	return w
}

// Header is the header of the answer, until it is written.
func (w *Writer) Header() http.Header { return w.header }

// Continue tells the client to send its body, if it waits for that and there is no answer yet. It is called before the body
// is read. A client that was not told may send its body or not, so the connection ends with such an answer.
func (w *Writer) Continue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expected && w.status == 0 && w.err == nil && !w.hijacked {
		w.expected = false
		_, w.err = w.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// WriteHeader begins the answer, or writes an informational one.
func (w *Writer) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.status != 0 || w.err != nil || w.hijacked:
	case status >= 100 && status < 200:
		if w.r.ProtoAtLeast(1, 1) {
			_, w.err = w.conn.Write(append(w.fields(appendStatus(nil, status), "Content-Length", "Transfer-Encoding"), "\r\n"...))
		}
	default:
		w.begin(status)
	}
}

// begin writes the head. mu is held.
func (w *Writer) begin(status int) {
	w.status = status
	buf := w.buffer()
	b := appendStatus(buf.b, status)
	w.frame(status)
	b = w.fields(b, "Content-Length", "Transfer-Encoding", "Connection")
	if w.length >= 0 {
		b = appendField(b, "Content-Length", strconv.FormatInt(w.length, 10))
	}
	if w.chunked {
		b = appendField(b, "Transfer-Encoding", "chunked")
	}
	switch {
	case w.last:
		b = appendField(b, "Connection", "close")
	case !w.r.ProtoAtLeast(1, 1):
		b = appendField(b, "Connection", "keep-alive")
	}
	buf.b = append(b, "\r\n"...)
}

// buffer is what waits; there is one only while something does. mu is held.
func (w *Writer) buffer() *buffer {
	if w.waiting == nil {
		w.waiting = takeBuffer()
	}
	return w.waiting
}

// frame decides where the answer ends (RFC 9112 section 6.3). mu is held.
func (w *Writer) frame(status int) {
	w.last = w.last || w.expected || w.r.Close || httpguts.HeaderValuesContainsToken(w.header["Connection"], "close")
	if lengths := w.header["Content-Length"]; len(lengths) == 1 {
		if n, err := strconv.ParseUint(lengths[0], 10, 63); err == nil {
			w.length = int64(n)
		}
	}
	for _, value := range w.header["Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			w.trailer = append(w.trailer, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	if len(w.trailer) > 0 {
		w.length = -1 // only chunks can be followed by a trailer
	}
	switch {
	case status == http.StatusNoContent:
		w.bare, w.length = true, -1
	case status == http.StatusNotModified, w.r.Method == http.MethodHead:
		w.bare = true
	case w.length >= 0:
	case w.r.ProtoAtLeast(1, 1):
		w.chunked = true
	default:
		w.last = true // the end of the connection is that of the answer
	}
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	return append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
}

// fields writes the header without some fields, and without trailers.
func (w *Writer) fields(b []byte, without ...string) []byte {
	for name, values := range w.header {
		if slices.Contains(without, name) || strings.HasPrefix(name, http.TrailerPrefix) || slices.Contains(w.trailer, name) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, value := range values {
			b = appendField(b, name, oneLine(value))
		}
	}
	return b
}

// oneLine is a value without what would end its line, or what HTTP has no place for.
func oneLine(value string) string {
	if httpguts.ValidHeaderFieldValue(value) {
		return value
	}
	b := []byte(value)
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// Write writes a piece of the body.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if w.status == 0 && w.err == nil {
		w.begin(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.bare:
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && int64(len(p)) > w.length-w.written:
		return 0, http.ErrContentLength
	case len(p) == 0:
		return 0, nil
	}
	w.written += int64(len(p))
	buf := w.buffer()
	if w.chunked {
		buf.b = append(strconv.AppendInt(buf.b, int64(len(p)), 16), "\r\n"...)
	}
	if len(buf.b)+len(p) <= bufferSize-2 {
		buf.b = append(buf.b, p...)
	} else {
		w.large(p)
	}
	if w.chunked && w.err == nil {
		buf = w.buffer()
		buf.b = append(buf.b, "\r\n"...)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// large writes what waits, and p, at once. mu is held.
func (w *Writer) large(p []byte) {
	corker, ok := w.conn.(Corker)
	if ok {
		corker.Cork()
	}
	w.flush()
	if w.err == nil {
		_, w.err = w.conn.Write(p)
	}
	if ok {
		if err := corker.Uncork(); w.err == nil {
			w.err = err
		}
	}
}

// flush writes what waits. mu is held.
func (w *Writer) flush() {
	if w.err == nil && w.waiting != nil && len(w.waiting.b) > 0 {
		_, w.err = w.conn.Write(w.waiting.b)
		giveBuffer(w.waiting) // the next piece may be long in coming
		w.waiting = nil
	}
}

// FlushError writes what waits, and the head.
func (w *Writer) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 && w.err == nil {
		w.begin(http.StatusOK)
	}
	w.flush()
	return w.err
}

// EnableFullDuplex does nothing: the body of a request may always be read beside its answer.
func (w *Writer) EnableFullDuplex() error { return nil }

// Hijack gives the connection away.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status != 0 || w.err != nil || w.hijacked {
		return nil, nil, errors.New("the answer has begun")
	}
	w.hijacked = true
	return w.owner, bufio.NewReadWriter(w.read, bufio.NewWriter(w.owner)), nil
}

// Last has the connection end with this answer. It has no effect once the head is written.
func (w *Writer) Last() {
	w.mu.Lock()
	w.last = w.last || w.status == 0
	w.mu.Unlock()
}

// Finish completes the answer, and reports whether another one may follow on the connection. An answer that was hijacked is
// none.
func (w *Writer) Finish() (more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.release()
	if w.hijacked {
		return false, nil
	}
	if w.status == 0 && w.err == nil {
		if w.r.Method != http.MethodHead {
			w.header["Content-Length"] = []string{"0"}
		}
		w.begin(http.StatusOK)
	}
	if w.err == nil && w.length > w.written && !w.bare {
		return false, fmt.Errorf("%w: %d bytes are missing", errShort, w.length-w.written)
	}
	if w.chunked && w.err == nil {
		buf := w.buffer()
		buf.b = append(w.trailers(append(buf.b, "0\r\n"...)), "\r\n"...)
	}
	w.flush()
	return w.err == nil && !w.last, w.err
}

// Drop ends an answer that cannot be completed. What waits is not written.
func (w *Writer) Drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
}

// release gives the memory back; nothing can be written afterwards. mu is held.
func (w *Writer) release() {
	if w.err == nil && !w.hijacked {
		w.err = net.ErrClosed
	}
	giveBuffer(w.waiting)
	w.waiting = nil
}

// trailers writes those that were announced, and those that were not. mu is held.
func (w *Writer) trailers(b []byte) []byte {
	for name, values := range w.header {
		plain, prefixed := strings.CutPrefix(name, http.TrailerPrefix)
		if !prefixed && !slices.Contains(w.trailer, name) || !httpguts.ValidTrailerHeader(plain) || !httpguts.ValidHeaderFieldName(plain) {
			continue
		}
		for _, value := range values {
			b = appendField(b, plain, oneLine(value))
		}
	}
	return b
}
