package line

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"moat/internal/mux"
)

// MaxDatagram is the length of the longest datagram that is carried, in bytes. Longer ones are dropped.
const MaxDatagram = 8 << 10

// packetHead is what comes before a datagram: the address and port of the program, and the datagram's length.
const packetHead = 16 + 2 + 2

// WritePacket writes a datagram to a stream that carries them, with the address of the program that it is from or to.
func WritePacket(w io.Writer, data []byte, program netip.AddrPort) error {
	if len(data) > MaxDatagram {
		return nil
	}
	address := program.Addr().As16()
	record := make([]byte, 0, packetHead+len(data))
	record = append(record, address[:]...)
	record = binary.BigEndian.AppendUint16(record, program.Port())
	record = binary.BigEndian.AppendUint16(record, uint16(len(data)))
	_, err := w.Write(append(record, data...))
	return err
}

// ReadPacket reads a datagram into b and returns its length; what does not fit in is lost. io.EOF is the end between two
// datagrams.
func ReadPacket(r io.Reader, b []byte) (int, netip.AddrPort, error) {
	var head [packetHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, netip.AddrPort{}, err
	}
	program := netip.AddrPortFrom(netip.AddrFrom16([16]byte(head[:16])).Unmap(), binary.BigEndian.Uint16(head[16:]))
	size := int(binary.BigEndian.Uint16(head[18:]))
	if size > MaxDatagram {
		return 0, program, ErrInvalid
	}
	n, err := io.ReadFull(r, b[:min(size, len(b))])
	if err == nil && n < size {
		_, err = io.CopyN(io.Discard, r, int64(size-n))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, program, err
}

// packets is a door's socket to which datagrams come. It implements net.PacketConn; deadlines are those of reading.
type packets struct {
	socket *socket
	over   chan struct{} // closed by Close
	once   sync.Once

	opening sync.Mutex // held by who waits for the stream
	mu      sync.Mutex // guards:
	stream  *mux.Stream
	writing sync.Mutex
}

func newPackets(k *socket) *packets { return &packets{socket: k, over: make(chan struct{})} }

// opened waits for the stream, of which there is one.
func (p *packets) opened() (*mux.Stream, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.mu.Lock()
	s := p.stream
	p.mu.Unlock()
	if s != nil {
		return s, nil
	}
	conn, err := p.socket.Accept()
	if err != nil {
		return nil, err
	}
	s = conn.(visitor).Stream
	p.mu.Lock()
	p.stream = s
	p.mu.Unlock()
	select {
	case <-p.over:
		s.Reset()
		return nil, net.ErrClosed
	default:
		return s, nil
	}
}

// ReadFrom implements net.PacketConn.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	s, err := p.opened()
	if err != nil {
		return 0, nil, err
	}
	n, from, err := ReadPacket(s, b)
	return n, net.UDPAddrFromAddrPort(from), err
}

// WriteTo implements net.PacketConn.
func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.AddrError{Err: "not an address of this socket", Addr: to.String()}
	}
	p.mu.Lock()
	s := p.stream
	p.mu.Unlock()
	if s == nil {
		return 0, net.ErrClosed
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	return len(b), WritePacket(s, b, udp.AddrPort())
}

// Close implements net.PacketConn.
func (p *packets) Close() error {
	p.once.Do(func() {
		close(p.over)
		_ = p.socket.Close()
		p.mu.Lock()
		s := p.stream
		p.mu.Unlock()
		if s != nil {
			s.Reset()
		}
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *packets) LocalAddr() net.Addr { return p.socket.Addr() }

// SetDeadline implements net.PacketConn.
func (p *packets) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn. Before the first datagram there is nothing to limit.
func (p *packets) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream == nil {
		return nil
	}
	return p.stream.SetReadDeadline(t)
}

// SetWriteDeadline implements net.PacketConn. Answers wait for nobody but the guest.
func (p *packets) SetWriteDeadline(time.Time) error { return nil }
