package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Stream is one of the streams of a Mux. It is a net.Conn, with the end of each direction as a TCP connection has it. One
// goroutine may read while another one writes; all other methods are for any number.
type Stream struct {
	mux   *Mux
	id    uint32
	label string

	saidEnd  bool        // 'E' was sent; guarded by the Mux's turn
	finished atomic.Bool // 'C' or 'X' was, or is being sent: nothing follows. Changed by whose turn it is

	mu       sync.Mutex // guards:
	changed  sync.Cond  // whatever is below
	in       []byte     // has arrived, from off on
	off      int
	window   int // how much may be in here, and on its way
	expected int // how much of it the peer may still send
	owed     int // how much of it was read, and the peer does not know yet
	room     int // how much we may send
	heard    byte
	closed   bool // by us
	hard     bool // Close is to reset
	err      error
	reading  deadline
	writing  deadline
}

var _ net.Conn = (*Stream)(nil)

func newStream(m *Mux, id uint32, label string) *Stream {
	s := &Stream{mux: m, id: id, label: label, window: Initial, expected: Initial, room: Initial}
	s.changed.L = &s.mu
	return s
}

// Label is what the side that opened the stream says of it.
func (s *Stream) Label() string { return s.label }

// send sends a frame that is no data, unless the stream is finished.
func (s *Stream) send(kind byte, payload []byte) error {
	s.mux.turn.take(s.id == 0 || kind == kindWindow)
	defer s.mux.turn.give()
	if s.finished.Load() || kind == kindEnd && s.saidEnd {
		return nil
	}
	s.saidEnd = s.saidEnd || kind == kindEnd
	s.finished.Store(kind == kindClose || kind == kindReset)
	return s.mux.write(kind, s.id, payload)
}

// sendData sends data that there is room for.
func (s *Stream) sendData(p []byte) error {
	s.mux.turn.take(s.id == 0)
	defer s.mux.turn.give()
	if s.finished.Load() || s.saidEnd {
		return net.ErrClosed
	}
	return s.mux.write(kindData, s.id, p)
}

// Read implements net.Conn. The error is io.EOF when the peer has said everything.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	if err := s.awaitInput(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	n := copy(p, s.in[s.off:])
	s.off += n
	if s.off == len(s.in) {
		if s.off = 0; cap(s.in) > keptRoom {
			s.in = nil
		}
		s.in = s.in[:0]
	}
	return n, s.taken(n)
}

// Await returns when Read would not wait: nil, or the error that Read would return.
func (s *Stream) Await() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaitInput()
}

// WriteTo writes what comes to w until the peer has said everything, and holds no buffer of its own. It implements io.WriterTo.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		s.mu.Lock()
		if err := s.awaitInput(); err != nil {
			s.mu.Unlock()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return total, err
		}
		part := s.in[s.off:]
		s.in, s.off = nil, 0
		s.mu.Unlock()
		n, err := w.Write(part)
		total += int64(n)
		s.mu.Lock()
		if creditErr := s.taken(len(part)); err == nil {
			err = creditErr
		}
		if err != nil {
			return total, err
		}
	}
}

// awaitInput waits until there is something to read. The caller holds mu.
func (s *Stream) awaitInput() error {
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case s.heard == kindReset:
			return ErrReset
		case s.off < len(s.in):
			return nil
		case s.heard != 0:
			return io.EOF
		case s.err != nil:
			return s.err
		case s.reading.over():
			return os.ErrDeadlineExceeded
		}
		s.changed.Wait()
	}
}

// AwaitClose returns nil when the peer has closed the stream, and ErrReset or another error when it was broken or closed here.
func (s *Stream) AwaitClose() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case s.heard == kindClose:
			return nil
		case s.heard == kindReset:
			return ErrReset
		case s.err != nil:
			return s.err
		}
		s.changed.Wait()
	}
}

// taken gives the peer room for n bytes that were read, when it is worth while. The caller holds mu, which is released.
func (s *Stream) taken(n int) error {
	s.owed += n
	if s.owed < s.window/2 || s.heard != 0 || s.closed || s.err != nil {
		s.mu.Unlock()
		return nil
	}
	if s.off == len(s.in) { // the reader is the faster one
		if larger := s.mux.grow(s.window); larger > s.window {
			s.owed += larger - s.window
			s.window = larger
		}
	}
	more := s.owed
	s.owed = 0
	s.expected += more
	s.mu.Unlock()
	return s.send(kindWindow, binary.BigEndian.AppendUint32(nil, uint32(more)))
}

// Write implements net.Conn. It waits for room as long as it has to.
func (s *Stream) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := s.reserve(min(len(p), maxData))
		if err == nil {
			err = s.sendData(p[:n])
		}
		if err != nil {
			return total, err
		}
		total += n
		p = p[n:]
	}
	return total, nil
}

// reserve waits for room and takes up to n bytes of it.
func (s *Stream) reserve(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.heard == kindClose || s.heard == kindReset:
			return 0, ErrReset
		case s.err != nil:
			return 0, s.err
		case s.writing.over():
			return 0, os.ErrDeadlineExceeded
		case s.room > 0:
			n = min(n, s.room)
			s.room -= n
			return n, nil
		}
		s.changed.Wait()
	}
}

// CloseWrite says that nothing more will be written.
func (s *Stream) CloseWrite() error { return s.send(kindEnd, nil) }

// SetLinger with zero seconds makes Close a reset, as that of a net.TCPConn.
func (s *Stream) SetLinger(sec int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hard = sec == 0
	return nil
}

// Reset gives the stream up: the peer sees it broken.
func (s *Stream) Reset() {
	_ = s.SetLinger(0) // never fails
	_ = s.Close()
}

// Close ends the stream. What was written before still arrives. Closing stream 0 ends the connection.
func (s *Stream) Close() error {
	if s.id == 0 {
		return s.mux.Close()
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	kind := kindClose
	if s.hard {
		kind = kindReset
	}
	s.closed = true
	s.in, s.off = nil, 0
	s.reading.set(s, time.Time{})
	s.writing.set(s, time.Time{})
	s.changed.Broadcast()
	s.mu.Unlock()
	err := s.send(kind, nil)
	s.settle()
	return err
}

// settle forgets the stream if both sides have closed it.
func (s *Stream) settle() {
	s.mu.Lock()
	gone, window := s.finished.Load() && (s.heard == kindClose || s.heard == kindReset), s.window
	s.mu.Unlock()
	if gone {
		s.mux.forget(s, window)
	}
}

// arrived takes data. A peer that sends more than it may breaks the protocol.
func (s *Stream) arrived(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) > s.expected || s.heard != 0 {
		return fmt.Errorf("%d bytes, of which %d were allowed", len(p), s.expected)
	}
	s.expected -= len(p)
	if s.closed {
		return nil // nobody will read it
	}
	if s.off > 0 && len(s.in)+len(p) > cap(s.in) {
		s.in = s.in[:copy(s.in, s.in[s.off:])]
		s.off = 0
	}
	s.in = append(s.in, p...)
	s.changed.Broadcast()
	return nil
}

// mayAlso takes room that the peer gives.
func (s *Stream) mayAlso(n uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == kindClose || s.heard == kindReset {
		return errors.New("it was closed before")
	}
	if int64(s.room)+int64(n) > math.MaxInt32 {
		return errors.New("impossible room")
	}
	s.room += int(n)
	s.changed.Broadcast()
	return nil
}

// ended hears the peer's end, close or reset.
func (s *Stream) ended(kind byte) error {
	s.mu.Lock()
	if s.id == 0 || s.heard == kindClose || s.heard == kindReset || s.heard == kind {
		s.mu.Unlock()
		return errors.New("it cannot end here")
	}
	s.heard = kind
	if kind == kindReset {
		s.in, s.off = nil, 0
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	s.settle()
	return nil
}

// fail ends the stream together with its connection.
func (s *Stream) fail(err error) {
	if s.id != 0 && errors.Is(err, io.EOF) {
		err = ErrReset // the stream itself had no end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.changed.Broadcast()
}

// LocalAddr implements net.Conn. A stream has no address.
func (s *Stream) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn. A stream has no address.
func (s *Stream) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "stream" }
func (address) String() string  { return "stream" }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.limit(&s.reading, t) }

// SetWriteDeadline implements net.Conn. A write that waits for the connection itself, and not for room, is not interrupted.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.limit(&s.writing, t) }

func (s *Stream) limit(d *deadline, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	d.set(s, t)
	return nil
}

// A deadline is when waiting ends; zero: never. Guarded by the stream's mutex.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(s *Stream, at time.Time) {
	d.at = at
	if d.timer != nil {
		d.timer.Stop()
	}
	if at.IsZero() {
		return
	}
	wake := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	}
	if d.timer == nil {
		d.timer = time.AfterFunc(time.Until(at), wake)
	} else {
		d.timer.Reset(time.Until(at))
	}
	s.changed.Broadcast() // it may be over already
}
