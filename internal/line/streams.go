package line

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"moat/internal/mux"
)

// Relayed returns nc as a connection that carries bytes and nothing else, for one that looks like a socket here and reaches
// its other end through something that passes no descriptors.
func Relayed(nc net.Conn) net.Conn { return struct{ net.Conn }{nc} }

// A Visit is what a guest says of a connection that came to the sandbox's door. None of it is to be trusted more than the program
// that made the connection.
type Visit struct {
	Socket string         `json:"socket"` // of the door
	To     netip.AddrPort `json:"to"`     // what the program asked for, before it was redirected; zero: nothing was
	Local  netip.AddrPort `json:"local"`  // of the socket; zero, as Remote, if it has no such address
	Remote netip.AddrPort `json:"remote"` // the program's
}

// streams is what a line without descriptors has besides its frames. Nil on one with descriptors.
type streams struct {
	mux    *mux.Mux
	served chan struct{} // closed when the mux is over

	mu      sync.Mutex // guards:
	sockets map[string]*socket
	early   []visitor // came before the door was announced to us, though they were sent after that
	ended   bool
}

// newStreams puts a multiplexer between a line and its connection. accept is false at the end that only opens streams.
func newStreams(nc net.Conn, accept bool) *streams {
	s := &streams{served: make(chan struct{})}
	cfg := mux.Config{Conn: nc, First: !accept}
	if accept {
		cfg.Accept = s.arrived
	}
	s.mux = mux.New(cfg)
	go func() { // close waits for it
		defer close(s.served)
		_ = s.mux.Serve() // who uses a stream hears of it
		s.end()
	}()
	return s
}

// close ends all streams, the line's own too.
func (s *streams) close() error {
	err := s.mux.Close()
	<-s.served
	return err
}

// Carry opens a stream for a connection that came to the door. It waits while there are too many. The caller closes the
// stream.
func (c *Conn) Carry(ctx context.Context, v Visit) (*mux.Stream, error) {
	if c.streams == nil {
		return nil, errors.New("line: connections are not carried where descriptors can be passed")
	}
	label, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("carry a connection: %w", err)
	}
	stream, err := c.streams.mux.Open(ctx, string(label))
	if err != nil {
		return nil, fmt.Errorf("carry a connection: %w", err)
	}
	return stream, nil
}

// A DoorSockets is the sandbox's door, on the host's side of the line. Whoever has it closes all of it.
type DoorSockets struct {
	Listeners map[string]net.Listener // by their names
	Packets   map[string]net.PacketConn
}

// Close closes every socket.
func (d DoorSockets) Close() error {
	var errs []error
	for _, l := range d.Listeners {
		errs = append(errs, l.Close())
	}
	for _, p := range d.Packets {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// isPackets says of a door's socket whether datagrams come to it.
func isPackets(name string) bool { return name == DoorDNS4 || name == DoorDNS6 }

// DoorSockets makes sockets of the descriptors of a door, which it takes over.
func (m Files) DoorSockets() (DoorSockets, error) {
	d := DoorSockets{Listeners: map[string]net.Listener{}, Packets: map[string]net.PacketConn{}}
	var errs []error
	for i, f := range m.Files {
		name := m.Names[i]
		if isPackets(name) {
			p, err := net.FilePacketConn(f)
			if err == nil {
				d.Packets[name] = p
			}
			errs = append(errs, err)
		} else {
			l, err := net.FileListener(f)
			if err == nil {
				d.Listeners[name] = l
			}
			errs = append(errs, err)
		}
		errs = append(errs, f.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return DoorSockets{}, errors.Join(fmt.Errorf("line: sockets of the door: %w", err), d.Close())
	}
	return d, nil
}

// DoorSockets makes sockets of what the guest has announced with m, which are carried over this line and end with it. A guest
// may announce a door once.
func (c *Conn) DoorSockets(m Door) (DoorSockets, error) {
	if c.streams == nil {
		return DoorSockets{}, fmt.Errorf("%w: a door is announced where its descriptors can be passed", ErrInvalid)
	}
	return c.streams.open(m.Names)
}

func (s *streams) open(names []string) (DoorSockets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets != nil {
		return DoorSockets{}, fmt.Errorf("%w: a second door", ErrInvalid)
	}
	d := DoorSockets{Listeners: map[string]net.Listener{}, Packets: map[string]net.PacketConn{}}
	s.sockets = make(map[string]*socket, len(names))
	for _, name := range names {
		if s.sockets[name] != nil {
			return DoorSockets{}, fmt.Errorf("%w: two sockets of a door are called %q", ErrInvalid, name)
		}
		k := &socket{name: name, come: make(chan visitor, mux.Streams), closed: make(chan struct{})}
		s.sockets[name] = k
		if isPackets(name) {
			d.Packets[name] = newPackets(k)
		} else {
			d.Listeners[name] = k
		}
		if s.ended {
			_ = k.Close()
		}
	}
	for _, v := range s.early {
		if k := s.sockets[v.visit.Socket]; k == nil || !k.push(v) {
			go v.Reset() // as in Close of a socket
		}
	}
	s.early = nil
	return d, nil
}

// arrived takes a stream that the guest opens. It does not block: there is room for as many as there may be.
func (s *streams) arrived(stream *mux.Stream) bool {
	var v Visit
	if json.Unmarshal([]byte(stream.Label()), &v) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets == nil {
		s.early = append(s.early, visitor{stream, v})
		return true
	}
	k := s.sockets[v.Socket]
	return k != nil && k.push(visitor{stream, v})
}

// end closes the sockets: nobody comes any more.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, k := range s.sockets {
		_ = k.Close()
	}
}

// A socket is one of a door's, to which connections are carried. It implements net.Listener.
type socket struct {
	name string
	come chan visitor

	mu     sync.Mutex // guards the closing of closed, and what is pushed before
	closed chan struct{}
	done   bool
}

func (k *socket) push(v visitor) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done {
		return false
	}
	select {
	case k.come <- v:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener. What it returns is a visitor.
func (k *socket) Accept() (net.Conn, error) {
	select {
	case v := <-k.come:
		return v, nil
	case <-k.closed:
		return nil, &net.OpError{Op: "accept", Net: k.name, Err: net.ErrClosed}
	}
}

// Close implements net.Listener. Who has come and was not accepted is reset.
func (k *socket) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done {
		return nil
	}
	k.done = true
	close(k.closed)
	for {
		select {
		case v := <-k.come:
			go v.Reset() // it may wait for the connection, which ends before long or for good
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (k *socket) Addr() net.Addr { return doorAddr(k.name) }

type doorAddr string

func (doorAddr) Network() string  { return "door" }
func (a doorAddr) String() string { return string(a) }

// A visitor is a connection that came to the door, with what the guest says of it.
type visitor struct {
	*mux.Stream
	visit Visit
}

// OriginalDst is where the program wanted to go.
func (v visitor) OriginalDst() (netip.AddrPort, error) {
	if !v.visit.To.IsValid() {
		return netip.AddrPort{}, errors.New("the guest did not say where a connection wanted to go")
	}
	return v.visit.To, nil
}

// LocalAddr implements net.Conn.
func (v visitor) LocalAddr() net.Addr { return addr(v.visit.Local, v.visit.Socket) }

// RemoteAddr implements net.Conn.
func (v visitor) RemoteAddr() net.Addr { return addr(v.visit.Remote, v.visit.Socket) }

func addr(a netip.AddrPort, socket string) net.Addr {
	if !a.IsValid() {
		return doorAddr(socket)
	}
	return net.TCPAddrFromAddrPort(a)
}

var _ io.WriterTo = visitor{} // of the stream
