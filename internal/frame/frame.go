// Package frame cuts a byte stream into frames: one kind byte and a bounded payload each.
//
// Both of moat's protocols are made of frames: the line between supervisor and guest (package line) and the
// attach stream between client and supervisor (package api). What kinds there are, and what their payloads
// mean, is left to them.
//
// On the wire a frame is
//
//	length  uint32, big endian: bytes that follow, 1 … 1+Max
//	kind    uint8
//	payload length-1 bytes
//
// A peer is never trusted: a length of zero or over the limit is an error before anything is allocated for it.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Max is the largest payload that may travel in one frame, in bytes. It holds 64 KiB of data and its header.
const Max = 64<<10 + 64

const headerSize = 5 // length and kind

// Size is how long a frame with a payload of n bytes is on the wire.
func Size(n int) int64 { return int64(headerSize + n) }

// ErrSize is returned for a frame whose stated length is zero or over Max.
var ErrSize = errors.New("frame: impossible length")

// A Reader takes frames from a stream. It is for one goroutine at a time.
type Reader struct {
	r   io.Reader
	buf []byte // unread input is buf[pos:end]
	pos int
	end int
}

// NewReader returns a Reader on r. It reads ahead, so r must not be read by anybody else afterwards.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, headerSize+Max)}
}

// Next returns the next frame. The payload is valid until the next call. At the end of the stream the error is
// io.EOF between frames and io.ErrUnexpectedEOF within one.
func (r *Reader) Next() (kind byte, payload []byte, err error) {
	if err := r.fill(headerSize); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(r.buf[r.pos:])
	if n == 0 || n > 1+Max {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrSize, n)
	}
	if err := r.fill(4 + int(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	kind = r.buf[r.pos+4]
	payload = r.buf[r.pos+headerSize : r.pos+4+int(n)]
	r.pos += 4 + int(n)
	return kind, payload, nil
}

// Buffered reports whether a whole frame can be returned without reading from the stream.
func (r *Reader) Buffered() bool {
	have := r.end - r.pos
	return have >= headerSize && have >= 4+int(binary.BigEndian.Uint32(r.buf[r.pos:]))
}

// fill reads until n unread bytes are in the buffer.
func (r *Reader) fill(n int) error {
	if r.end-r.pos >= n {
		return nil
	}
	if r.pos > 0 {
		r.end = copy(r.buf, r.buf[r.pos:r.end])
		r.pos = 0
	}
	for r.end < n {
		m, err := r.r.Read(r.buf[r.end:])
		r.end += m
		if r.end >= n {
			return nil
		}
		if err == io.EOF && r.end > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Append appends one frame to dst, for callers that gather several into one write.
// It panics if the parts are over Max together: that is a bug of the caller, never of a peer.
func Append(dst []byte, kind byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > Max {
		panic(fmt.Sprintf("frame: payload of %d bytes is over the limit", n))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(n)+1)
	dst = append(dst, kind)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// A Writer puts frames on a stream, each with one Write. It is for one goroutine at a time.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends one frame whose payload is the parts, one after the other.
func (w *Writer) Write(kind byte, parts ...[]byte) error {
	w.buf = Append(w.buf[:0], kind, parts...)
	_, err := w.w.Write(w.buf)
	return err
}
