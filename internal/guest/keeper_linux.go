package guest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"moat/internal/line"
)

// keeper stands at the door while no supervisor does: whoever comes is refused at once. It never lets anybody out.
type keeper struct {
	names   []string
	files   []*os.File
	waits   []deadliner // the same sockets, to be interrupted
	log     *slog.Logger
	mu      sync.Mutex
	changed *sync.Cond
	alone   bool // no supervisor has the sockets
	over    bool
}

// deadliner is a socket whose waiting can be ended.
type deadliner interface {
	SetDeadline(time.Time) error
	Close() error
}

// newKeeper takes over the sockets of a door, which are in the order of line.DoorNames.
func newKeeper(files []*os.File, log *slog.Logger) (*keeper, error) {
	k := &keeper{names: line.DoorNames()[:len(files)], files: files, log: log, alone: true}
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
		k.waits = append(k.waits, socket)
	}
	return k, nil
}

// run refuses whoever comes while no supervisor is there, until end is called.
func (k *keeper) run() {
	var all sync.WaitGroup
	for _, socket := range k.waits {
		all.Go(func() {
			for k.wait() {
				if err := refuseOne(socket); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					k.log.Info("at the door", "error", err)
				}
			}
		})
	}
	all.Wait()
	for i, socket := range k.waits {
		_ = errors.Join(socket.Close(), k.files[i].Close()) // nobody is left to use them
	}
}

// wait blocks while a supervisor is there. It is false at the end.
func (k *keeper) wait() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.alone && !k.over {
		k.changed.Wait()
	}
	return !k.over
}

// refuseOne answers one that comes, or returns when it is interrupted.
func refuseOne(socket deadliner) error {
	switch s := socket.(type) {
	case *net.TCPListener:
		c, err := s.AcceptTCP()
		if err != nil {
			return err
		}
		return errors.Join(c.SetLinger(0), c.Close()) // a reset
	case *net.UnixListener:
		c, err := s.AcceptUnix()
		if err != nil {
			return err
		}
		return c.Close()
	case *net.UDPConn:
		var buf [512]byte
		n, from, err := s.ReadFromUDPAddrPort(buf[:])
		if err != nil || n < 12 {
			return err
		}
		// The question comes back as an answer that says REFUSED and holds nothing (RFC 1035, 4.1.1).
		buf[2], buf[3] = buf[2]|0x80, buf[3]&0xf0|5
		_, err = s.WriteToUDPAddrPort(buf[:n], from)
		return err
	}
	return nil
}

// set says whether a supervisor is there.
func (k *keeper) set(alone, over bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.alone, k.over = alone, over
	deadline := time.Time{}
	if !alone || over {
		deadline = time.Unix(1, 0) // ends the waiting
	}
	for _, socket := range k.waits {
		if err := socket.SetDeadline(deadline); err != nil {
			k.log.Info("at the door", "error", err)
		}
	}
	k.changed.Broadcast()
}

// handOver gives a supervisor the sockets. From then on it is up to that one who is let out.
func (k *keeper) handOver(conn *line.Conn) error {
	k.set(false, false)
	return conn.Send(line.Files{Names: k.names, Files: k.files})
}
