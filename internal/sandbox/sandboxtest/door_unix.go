//go:build unix

package sandboxtest

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
)

// testDoor lets a supervisor take the door's sockets, and nobody else: with one there each connection arrives at it, and
// without one it is refused at once.
func (s *suite) testDoor(t *testing.T) {
	spec := s.newSpec(t)
	spec.Network, spec.SSHAgent = true, true
	s.mustStart(t, spec)
	b := s.dial(t, spec)
	door := b.door(t) // comes before anything else
	b.spawn(t, line.Spawn{Process: line.Main, Args: []string{"/workspace/probe", "wait"}})
	for _, name := range []string{"tcp4", "tcp6", "dns4", "dns6", "proxy", "agent"} {
		if door[name] == nil {
			t.Fatalf("there is no %s among the door's sockets", name)
		}
	}
	b.wantThrough(t, door["tcp4"])
	if got := try(t, b, "stat", sandbox.AgentSocket); got != "ok" {
		t.Errorf("the socket of the ssh agent is not there: %s", got)
	}
	// The supervisor dies: its descriptors go away with it.
	for _, l := range door {
		check(t, l.Close())
	}
	check(t, b.conn.Close())
	again := s.dial(t, spec)
	again.next = b.next
	door = again.door(t)
	again.wantThrough(t, door["tcp4"])
	for _, l := range door {
		check(t, l.Close())
	}
}

// door receives the door's sockets: the listeners by their names, and nil closers for the others.
func (b *box) door(t *testing.T) map[string]net.Listener {
	t.Helper()
	for {
		files, ok := b.receive(t).(line.Files)
		if !ok {
			continue
		}
		door := make(map[string]net.Listener)
		for i, name := range files.Names {
			if strings.HasPrefix(name, "dns") {
				c, err := net.FilePacketConn(files.Files[i])
				check(t, err)
				door[name] = packets{c}
			} else {
				l, err := net.FileListener(files.Files[i])
				check(t, err)
				door[name] = l
			}
			check(t, files.Files[i].Close())
		}
		return door
	}
}

// packets lets a packet socket be kept among listeners.
type packets struct{ net.PacketConn }

func (packets) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (p packets) Addr() net.Addr          { return p.LocalAddr() }

// wantThrough connects from inside and answers outside.
func (b *box) wantThrough(t *testing.T, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() {
		check(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(20*time.Second)))
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write([]byte("let out\n"))
			err = slices.Concat([]error{err, c.Close()})[0]
		}
		served <- err
	}()
	got := probe[string](t, b, "knock", "203.0.113.7:443")
	if err := <-served; err != nil || got != "let out\n" {
		t.Errorf("through the door: %q, %v", got, err)
	}
}
