//go:build unix

package sandboxtest

import (
	"errors"
	"net"
	"testing"

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
	for _, name := range []string{line.DoorTCP4, line.DoorTCP6, line.DoorProxy, line.DoorAgent} {
		if door.Listeners[name] == nil {
			t.Fatalf("there is no %s among the door's sockets", name)
		}
	}
	if door.Packets[line.DoorDNS4] == nil || door.Packets[line.DoorDNS6] == nil {
		t.Fatal("nothing in the door is for questions")
	}
	b.wantThrough(t, door.Listeners[line.DoorTCP4])
	if got := try(t, b, "stat", sandbox.AgentSocket); got != "ok" {
		t.Errorf("the socket of the ssh agent is not there: %s", got)
	}
	b.wantAnswer(t, door.Packets[line.DoorDNS4])
	// The supervisor dies: its descriptors go away with it.
	check(t, door.Close())
	check(t, b.conn.Close())
	again := s.dial(t, spec)
	again.next = b.next
	door = again.door(t)
	again.wantThrough(t, door.Listeners[line.DoorTCP4])
	check(t, door.Close())
}

// door receives the door.
func (b *box) door(t *testing.T) line.DoorSockets {
	t.Helper()
	for {
		switch m := b.receive(t).(type) {
		case line.Files:
			door, err := m.DoorSockets()
			check(t, err)
			return door
		case line.Door:
			door, err := b.conn.DoorSockets(m)
			check(t, err)
			return door
		}
	}
}

// wantThrough connects from inside and answers outside.
func (b *box) wantThrough(t *testing.T, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write([]byte("let out\n"))
			err = errors.Join(err, c.Close())
		}
		served <- err
	}()
	got := probe[string](t, b, "knock", "203.0.113.7:443")
	if got != "let out\n" {
		check(t, l.Close()) // perhaps nobody came
	}
	if err := <-served; err != nil || got != "let out\n" {
		t.Errorf("through the door: %q, %v", got, err)
	}
}

// wantAnswer asks from inside and answers outside.
func (b *box) wantAnswer(t *testing.T, c net.PacketConn) {
	t.Helper()
	served := make(chan error, 1)
	go func() {
		buf := make([]byte, 100)
		n, from, err := c.ReadFrom(buf)
		if err == nil {
			_, err = c.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
		served <- err
	}()
	got := probe[string](t, b, "ask", "203.0.113.7:53")
	if got != "re: question" {
		check(t, c.Close()) // perhaps nobody asked
	}
	if err := <-served; err != nil || got != "re: question" {
		t.Errorf("a question: %q, %v", got, err)
	}
}
