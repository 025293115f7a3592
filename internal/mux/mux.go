// Package mux carries any number of byte streams over one connection.
//
// The line between supervisor and guest is made of it where no descriptors can be passed: the line itself is the stream that is
// always there, and every connection that the sandbox makes is another one. It promises that a stream which nobody reads
// holds up no other, that memory is bounded whatever the peer does, and that a stream ends as a connection does: in each
// direction by itself, or with a reset. What streams are for, who the peer is and whether it may be trusted is left to
// package line.
//
// # On the wire
//
// Frames (package frame), numbers big endian. Each begins with the stream's number.
//
//	'O' open    label (at most 1 KiB)     a new stream; the peer says by the label what it is for
//	'D' data    1 … 32768 bytes           as much as the receiver has room for
//	'W' window  uint32                    so many bytes more may be sent
//	'E' end     -                         the sender has said everything
//	'C' close   -                         it has, and reads no more
//	'X' reset   -                         it has given up: what it has sent is worth nothing
//
// Stream 0 is open from the beginning. One side, the first, opens streams with odd numbers, the other one with even ones. Each
// side sends 'C' or 'X' once for each stream but 0, and nothing after it; a stream for which both have done so is gone, and its
// number is free.
//
// # Windows
//
// Into each direction of a stream go Initial bytes unasked. A receiver gives the sender room again for what was read. Where
// its reader waits for more, it gives up to Largest bytes, as long as all streams together have no more than Extra beyond
// their first windows. So what waits in memory is at most Initial for each stream, and Extra.
//
// The goroutine that receives never writes and never waits for a reader, so two peers cannot wait for each other. Frames of
// stream 0 go before those of others that wait to be sent.
package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"moat/internal/frame"
)

// Bounds that both ends keep.
const (
	Streams  = 1024      // that each side may have open at the same time, besides stream 0
	MaxLabel = 1 << 10   // bytes of a label
	Initial  = 32 << 10  // of a window, in bytes
	Largest  = 1 << 20   // of a window, in bytes
	Extra    = 32 << 20  // of all windows together beyond the initial ones, in bytes
	maxData  = 32 << 10  // of one frame: nobody waits longer for his turn than this takes
	keptRoom = 128 << 10 // of a buffer that is empty, in bytes; a larger one is given back
)

// Kinds of frames.
const (
	kindOpen   byte = 'O'
	kindData   byte = 'D'
	kindWindow byte = 'W'
	kindEnd    byte = 'E'
	kindClose  byte = 'C'
	kindReset  byte = 'X'
)

// ErrProtocol is returned for a peer that does not keep the rules.
var ErrProtocol = errors.New("mux: broken protocol")

// ErrReset is returned for a stream that the peer has given up.
var ErrReset = errors.New("mux: the stream was reset")

// Config is what a Mux is made of.
type Config struct {
	// Conn carries everything. Its Close must make Read and Write return. The Mux closes it.
	Conn io.ReadWriteCloser
	// First is true for exactly one of the two sides.
	First bool
	// Accept is given each stream that the peer opens, by the goroutine that receives: it must not block. A stream that it does
	// not want (false) is reset. Nil: the peer may open none, and one that does breaks the protocol.
	Accept func(*Stream) bool
}

// A Mux is one end of the connection. Its methods may be called by any number of goroutines.
type Mux struct {
	config Config
	main   *Stream
	turn   turn
	out    []byte         // guarded by turn
	wait   sync.WaitGroup // refusals
	over   chan struct{}  // closed with the first failure

	mu      sync.Mutex // guards:
	streams map[uint32]*Stream
	opened  [2]int        // how many of them have an even number, an odd one; without stream 0
	next    uint32        // number of the next one of ours
	extra   int           // bytes that windows have beyond Initial
	free    chan struct{} // closed when there is a place for a stream; nil if nobody waits
	err     error
}

// New returns a Mux whose stream 0 is open. Serve must be called for anything to arrive.
func New(c Config) *Mux {
	m := &Mux{config: c, streams: make(map[uint32]*Stream), next: 2, over: make(chan struct{})}
	if c.First {
		m.next = 1
	}
	m.main = newStream(m, 0, "")
	m.streams[0] = m.main
	return m
}

// Main is stream 0.
func (m *Mux) Main() *Stream { return m.main }

// Close ends the connection and every stream.
func (m *Mux) Close() error { return m.fail(net.ErrClosed) }

// Serve receives until the connection ends, and says why it did: io.EOF if the peer has closed it between two frames. All
// streams have ended then.
func (m *Mux) Serve() error {
	defer m.wait.Wait()
	r := frame.NewReader(m.config.Conn)
	for {
		kind, payload, err := r.Next()
		if err == nil {
			err = m.receive(kind, payload)
		}
		if err != nil {
			_ = m.fail(err)
			return m.failure()
		}
	}
}

// fail ends everything, with err for whoever asks. Only its first call does anything.
func (m *Mux) fail(err error) error {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return nil
	}
	m.err = err
	all := make([]*Stream, 0, len(m.streams))
	for _, s := range m.streams {
		all = append(all, s)
	}
	close(m.over)
	m.mu.Unlock()
	closeErr := m.config.Conn.Close()
	for _, s := range all {
		s.fail(err)
	}
	return closeErr
}

// failure is why the connection ended; nil while it lives.
func (m *Mux) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// receive handles one frame.
func (m *Mux) receive(kind byte, payload []byte) error {
	if len(payload) < 4 {
		return fmt.Errorf("%w: kind %q: no stream", ErrProtocol, kind)
	}
	id, rest := binary.BigEndian.Uint32(payload), payload[4:]
	if kind == kindOpen {
		return m.accept(id, rest)
	}
	m.mu.Lock()
	s := m.streams[id]
	m.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: kind %q for stream %d, which is not open", ErrProtocol, kind, id)
	}
	var err error
	switch {
	case kind == kindData && len(rest) > 0 && len(rest) <= maxData:
		err = s.arrived(rest)
	case kind == kindWindow && len(rest) == 4:
		err = s.mayAlso(binary.BigEndian.Uint32(rest))
	case (kind == kindEnd || kind == kindClose || kind == kindReset) && len(rest) == 0:
		err = s.ended(kind)
	default:
		err = errors.New("unknown kind or wrong length")
	}
	if err != nil {
		return fmt.Errorf("%w: kind %q for stream %d: %w", ErrProtocol, kind, id, err)
	}
	return nil
}

// add takes a stream into use. The caller holds mu.
func (m *Mux) add(s *Stream) {
	m.streams[s.id] = s
	m.opened[s.id%2]++
}

// forget frees the place of a stream that both sides have closed.
func (m *Mux) forget(s *Stream, window int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streams[s.id] != s {
		return
	}
	delete(m.streams, s.id)
	m.opened[s.id%2]--
	m.extra -= window - Initial
	if m.free != nil {
		close(m.free)
		m.free = nil
	}
}

// grow returns a window that is larger than size, if there is room for that.
func (m *Mux) grow(size int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	more := min(size, Largest-size, Extra-m.extra)
	if more <= 0 {
		return size
	}
	m.extra += more
	return size + more
}

// Open opens a stream. It waits until there is a place for it, the connection ends, or ctx does. The caller closes the stream.
func (m *Mux) Open(ctx context.Context, label string) (*Stream, error) {
	if len(label) > MaxLabel {
		return nil, fmt.Errorf("%w: a label of %d bytes", ErrProtocol, len(label))
	}
	for {
		s, free := m.place(label)
		if s != nil {
			if err := s.send(kindOpen, []byte(label)); err != nil {
				return nil, err
			}
			return s, nil
		}
		select {
		case <-free:
		case <-m.over:
			return nil, m.failure()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// place returns a new stream, or what is closed when it is worth while to try again.
func (m *Mux) place(label string) (*Stream, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil || m.opened[m.next%2] >= Streams {
		if m.free == nil {
			m.free = make(chan struct{})
		}
		return nil, m.free
	}
	for m.streams[m.next] != nil { // after some billions
		m.next += 2
	}
	s := newStream(m, m.next, label)
	m.next += 2
	m.add(s)
	return s, nil
}

// write sends a frame. It is called by whose turn it is.
func (m *Mux) write(kind byte, id uint32, payload []byte) error {
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], id)
	m.out = frame.Append(m.out[:0], kind, number[:], payload)
	if _, err := m.config.Conn.Write(m.out); err != nil {
		_ = m.fail(err)
		return m.failure()
	}
	return nil
}

// accept takes a stream that the peer opens.
func (m *Mux) accept(id uint32, label []byte) error {
	if m.config.Accept == nil || id == 0 || (id%2 == 1) == m.config.First || len(label) > MaxLabel {
		return fmt.Errorf("%w: stream %d cannot be opened", ErrProtocol, id)
	}
	s := newStream(m, id, string(label))
	m.mu.Lock()
	taken := m.err != nil || m.streams[id] != nil || m.opened[id%2] >= Streams
	if !taken {
		m.add(s)
	}
	m.mu.Unlock()
	if taken {
		return fmt.Errorf("%w: stream %d is one too many", ErrProtocol, id)
	}
	if !m.config.Accept(s) {
		m.wait.Go(s.Reset) // who receives does not write
	}
	return nil
}
