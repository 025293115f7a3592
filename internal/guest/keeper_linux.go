package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"moat/internal/line"
)

// keeper stands at the door when no supervisor does: whoever comes is refused at once, or carried to a supervisor that cannot
// have the sockets themselves. It lets nobody out.
type keeper struct {
	names   []string
	files   []*os.File
	sockets []deadliner // the same sockets, to wait at
	log     *slog.Logger
	carried sync.WaitGroup // visitors

	mu      sync.Mutex // guards:
	changed *sync.Cond
	lent    bool     // a supervisor has the sockets
	to      *carrier // or is carried what comes to them
	over    bool
}

// deadliner is a socket whose waiting can be ended.
type deadliner interface {
	SetDeadline(time.Time) error
	Close() error
}

// newKeeper takes over the sockets of a door, which are in the order of line.DoorNames.
func newKeeper(files []*os.File, log *slog.Logger) (*keeper, error) {
	k := &keeper{names: line.DoorNames()[:len(files)], files: files, log: log}
	k.changed = sync.NewCond(&k.mu)
	for i, f := range files {
		var socket deadliner
		var err error
		if k.names[i] == line.DoorDNS4 || k.names[i] == line.DoorDNS6 {
			var c net.PacketConn
			if c, err = net.FilePacketConn(f); err == nil {
				socket = c.(*net.UDPConn)
			}
		} else {
			var l net.Listener
			if l, err = net.FileListener(f); err == nil {
				socket = l.(deadliner)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("door %s: %w", k.names[i], err)
		}
		k.sockets = append(k.sockets, socket)
	}
	return k, nil
}

// run serves who comes while no supervisor has the sockets, until end is called.
func (k *keeper) run() {
	var all sync.WaitGroup
	for i, socket := range k.sockets {
		all.Go(func() {
			var buf []byte
			if _, ok := socket.(*net.UDPConn); ok {
				buf = make([]byte, line.MaxDatagram+1) // a longer one is none of ours
			}
			for k.wait() {
				if err := k.one(k.names[i], socket, buf); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					k.log.Info("at the door", "error", err)
				}
			}
		})
	}
	all.Wait()
	k.carried.Wait()
	for i, socket := range k.sockets {
		_ = errors.Join(socket.Close(), k.files[i].Close()) // nobody is left to use them
	}
}

// wait blocks while a supervisor has the sockets. It is false at the end.
func (k *keeper) wait() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.lent && !k.over {
		k.changed.Wait()
	}
	return !k.over
}

// one serves one that comes to a socket, or returns when it is interrupted. buf is for a datagram.
func (k *keeper) one(name string, socket deadliner, buf []byte) error {
	switch s := socket.(type) {
	case *net.TCPListener:
		c, err := s.AcceptTCP()
		if err != nil {
			return err
		}
		return k.admit(name, c)
	case *net.UnixListener:
		c, err := s.AcceptUnix()
		if err != nil {
			return err
		}
		return k.admit(name, c)
	case *net.UDPConn:
		n, from, err := s.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if to := k.present(); to != nil {
			return line.WritePacket(to.datagrams[name], buf[:n], from)
		}
		return refuseQuestion(s, buf[:n], from)
	}
	return nil
}

// refuseQuestion sends a question back as an answer that says REFUSED and holds nothing (RFC 1035, 4.1.1).
func refuseQuestion(s *net.UDPConn, question []byte, from netip.AddrPort) error {
	if len(question) < 12 {
		return nil
	}
	question[2], question[3] = question[2]|0x80, question[3]&0xf0|5
	_, err := s.WriteToUDPAddrPort(question, from)
	return err
}

// admit lets a visitor be carried, or refuses it.
func (k *keeper) admit(name string, c duplex) error {
	to := k.present()
	if to == nil {
		return turnAway(c)
	}
	stream, err := to.open(name, c)
	if err != nil {
		return errors.Join(err, turnAway(c))
	}
	k.carried.Go(func() { exchange(c, stream) })
	return nil
}

// turnAway closes a connection with a reset, where it knows one.
func turnAway(c duplex) error {
	var err error
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return errors.Join(err, c.Close())
}

// present is the supervisor to whom visitors are carried; nil if there is none.
func (k *keeper) present() *carrier {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.to
}

// set says who is there: a supervisor who has the sockets, or one to whom visitors are carried, or nobody.
func (k *keeper) set(lent bool, to *carrier) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.to != nil {
		k.to.cancel()
	}
	k.lent, k.to = lent, to
	k.changing(lent || k.over)
}

// end makes run return.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.to != nil {
		k.to.cancel()
	}
	k.to, k.over = nil, true
	k.changing(true)
}

// changing lets those who wait go on, or ends the waiting at the sockets. The caller holds mu.
func (k *keeper) changing(leave bool) {
	deadline := time.Time{}
	if leave {
		deadline = time.Unix(1, 0)
	}
	for _, socket := range k.sockets {
		if err := socket.SetDeadline(deadline); err != nil {
			k.log.Info("at the door", "error", err)
		}
	}
	k.changed.Broadcast()
}

// handOver gives a supervisor the sockets, or what comes to them. From then on it is up to that one who is let out.
func (k *keeper) handOver(ctx context.Context, conn *line.Conn) error {
	if conn.PassesFiles() {
		k.set(true, nil)
		return conn.Send(line.Files{Names: k.names, Files: k.files})
	}
	to, err := k.newCarrier(ctx, conn)
	if err != nil {
		return err
	}
	k.set(false, to) // who comes before the other end knows of the door waits there; afterwards nobody may be refused any more
	return conn.Send(line.Door{Names: k.names})
}
