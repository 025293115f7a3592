package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"moat/internal/line"
	"moat/internal/mux"
	"moat/internal/sock"
)

// A carrier brings what comes to the door to a supervisor that cannot have its sockets.
type carrier struct {
	conn      *line.Conn
	ctx       context.Context // until there is another one, or none
	cancel    context.CancelFunc
	datagrams map[string]*mux.Stream // by the socket's name
}

// duplex is a connection of the sandbox, whose two directions end by themselves.
type duplex interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// newCarrier opens the streams for datagrams. Visitors are carried until the line breaks.
func (k *keeper) newCarrier(ctx context.Context, conn *line.Conn) (*carrier, error) {
	c := &carrier{conn: conn, datagrams: map[string]*mux.Stream{}}
	c.ctx, c.cancel = context.WithCancel(ctx)
	for i, socket := range k.sockets {
		udp, ok := socket.(*net.UDPConn)
		if !ok {
			continue
		}
		stream, err := conn.Carry(c.ctx, line.Visit{Socket: k.names[i]}) //nolint:contextcheck // c.ctx is of ctx
		if err != nil {
			c.cancel()
			return nil, err
		}
		c.datagrams[k.names[i]] = stream
		k.carried.Go(func() { k.deliver(udp, stream) })
	}
	return c, nil
}

// deliver sends the datagrams that come from outside, until the stream ends.
func (k *keeper) deliver(udp *net.UDPConn, stream *mux.Stream) {
	defer stream.Close()
	var buf [line.MaxDatagram]byte
	for {
		n, program, err := line.ReadPacket(stream, buf[:])
		if err != nil {
			return
		}
		if _, err := udp.WriteToUDPAddrPort(buf[:n], program); err != nil {
			k.log.Info("an answer cannot be sent", "error", err)
		}
	}
}

// open opens a stream for a visitor.
func (c *carrier) open(socket string, visitor duplex) (*mux.Stream, error) {
	v := line.Visit{Socket: socket}
	if tcp, ok := visitor.(*net.TCPConn); ok {
		v.Local, v.Remote = addrPort(tcp.LocalAddr()), addrPort(tcp.RemoteAddr())
		if socket != line.DoorProxy {
			var err error
			if v.To, err = sock.OriginalDst(tcp); errors.Is(err, unix.ENOENT) {
				v.To = v.Local // it was not redirected
			} else if err != nil {
				return nil, err
			}
		}
	}
	return c.conn.Carry(c.ctx, v)
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// exchange copies between a visitor and its stream. Each end of a direction is passed on as such, and a failure of one side
// as a reset of the other. It returns when both are closed.
func exchange(visitor duplex, stream *mux.Stream) {
	var out sync.WaitGroup
	out.Go(func() {
		if err := sendAll(stream, visitor); err != nil {
			stream.Reset()
			_ = turnAway(visitor)
		}
	})
	_, err := stream.WriteTo(visitor)
	if err == nil {
		_ = visitor.CloseWrite() // it may be gone
		err = stream.AwaitClose()
	}
	if err != nil {
		stream.Reset()
		_ = turnAway(visitor)
	}
	_ = visitor.Close()
	out.Wait()
	_ = stream.Close()
}

// sendSize is how much of a visitor's bytes is read at once.
const sendSize = 32 << 10

// sendBuffers are shared by all visitors: those that say nothing hold none.
//
//nolint:gochecknoglobals // a pool is of use only if everybody shares it
var sendBuffers = sync.Pool{New: func() any { return new([sendSize]byte) }}

// sendAll sends what a visitor says, to its end.
func sendAll(stream *mux.Stream, visitor duplex) error {
	raw, err := visitor.SyscallConn()
	if err != nil {
		return err
	}
	for {
		buf, n, err := readSome(raw)
		if n > 0 {
			_, err = stream.Write(buf[:n])
		}
		if buf != nil {
			sendBuffers.Put(buf)
		}
		if errors.Is(err, io.EOF) {
			return stream.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// readSome waits until there is something to read, and takes a buffer only then.
func readSome(raw syscall.RawConn) (buf *[sendSize]byte, n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		buf = sendBuffers.Get().(*[sendSize]byte)
		n, err = unix.Read(int(fd), buf[:])
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Read(int(fd), buf[:])
		}
		if !errors.Is(err, unix.EAGAIN) {
			return true
		}
		sendBuffers.Put(buf)
		buf = nil
		return false
	})
	switch {
	case waited != nil:
		return buf, 0, waited
	case err == nil && n == 0:
		return buf, 0, io.EOF
	}
	return buf, max(n, 0), err
}
