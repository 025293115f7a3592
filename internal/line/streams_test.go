package line

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"moat/internal/mux"
)

// carried returns an open line over a connection that passes no descriptors.
func carried(t *testing.T) (guest, host *Conn) {
	t.Helper()
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := Accept(ctx, Relayed(a), secret)
		if err == nil {
			err = c.SendWelcome(nil)
		}
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	host, _, err := Open(ctx, Relayed(b), secret)
	if err != nil {
		t.Fatal(err)
	}
	guest = <-accepted
	t.Cleanup(func() { _, _ = guest.Close(), host.Close() })
	return guest, host
}

// announced lets the guest announce a door, and returns it.
func announced(t *testing.T, guest, host *Conn, names ...string) DoorSockets {
	t.Helper()
	if guest.PassesFiles() || host.PassesFiles() {
		t.Fatal("a line over plain bytes says that it passes descriptors")
	}
	if err := guest.Send(Door{Names: names}); err != nil {
		t.Fatal(err)
	}
	m, err := host.Next()
	if err != nil {
		t.Fatal(err)
	}
	d, err := host.DoorSockets(m.(Door))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestVisitors(t *testing.T) {
	guest, host := carried(t)
	d := announced(t, guest, host, DoorNames()...)
	if len(d.Listeners) != 4 || len(d.Packets) != 2 {
		t.Fatalf("%d listeners and %d sockets of datagrams", len(d.Listeners), len(d.Packets))
	}
	v := Visit{
		Socket: DoorTCP4, To: netip.MustParseAddrPort("203.0.113.7:443"),
		Local: netip.MustParseAddrPort("127.0.0.1:15001"), Remote: netip.MustParseAddrPort("10.83.0.2:40000"),
	}
	inside, err := guest.Carry(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	outside, err := d.Listeners[DoorTCP4].Accept()
	if err != nil {
		t.Fatal(err)
	}
	to, err := outside.(interface {
		OriginalDst() (netip.AddrPort, error)
	}).OriginalDst()
	if to != v.To || err != nil || outside.LocalAddr().String() != v.Local.String() || outside.RemoteAddr().String() != v.Remote.String() {
		t.Errorf("it came to %v from %v and wanted to %v, %v", outside.LocalAddr(), outside.RemoteAddr(), to, err)
	}
	go func() {
		_, _ = inside.Write([]byte("question"))
		_ = inside.CloseWrite()
	}()
	if got, err := io.ReadAll(outside); string(got) != "question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = outside.Write([]byte("answer"))
	_ = outside.Close()
	if got, err := io.ReadAll(inside); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}

	// Nobody is at a socket that was closed, or never announced.
	_ = d.Listeners[DoorProxy].Close()
	for _, name := range []string{DoorProxy, "other", ""} {
		s, err := guest.Carry(t.Context(), Visit{Socket: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
			t.Errorf("at %q: %v", name, err)
		}
		_ = s.Close()
	}
	agent, err := guest.Carry(t.Context(), Visit{Socket: DoorAgent})
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	asked, err := d.Listeners[DoorAgent].Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asked.(visitor).OriginalDst(); err == nil || asked.RemoteAddr().String() != DoorAgent {
		t.Errorf("a client of the agent: from %v, %v", asked.RemoteAddr(), err)
	}

	// With the line everything ends.
	_ = guest.Close()
	if _, err := asked.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
		t.Errorf("a visitor without a line: %v", err)
	}
	if _, err := d.Listeners[DoorTCP4].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a door without a line: %v", err)
	}
}

func TestDatagrams(t *testing.T) {
	guest, host := carried(t)
	d := announced(t, guest, host, DoorDNS4, DoorDNS6)
	for name, program := range map[string]string{DoorDNS4: "10.83.0.2:5353", DoorDNS6: "[fd83::2]:5353"} {
		stream, err := guest.Carry(t.Context(), Visit{Socket: name})
		if err != nil {
			t.Fatal(err)
		}
		from := netip.MustParseAddrPort(program)
		for _, q := range []string{"question", "", strings.Repeat("q", MaxDatagram), strings.Repeat("q", MaxDatagram+1)} {
			if err := WritePacket(stream, []byte(q), from); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 100)
		for _, want := range []string{"question", "", strings.Repeat("q", len(buf))} {
			n, addr, err := d.Packets[name].ReadFrom(buf)
			if err != nil || string(buf[:n]) != want || addr.String() != program {
				t.Fatalf("%q from %v, %v; want %q", buf[:n], addr, err, want)
			}
			if _, err := d.Packets[name].WriteTo(append([]byte("re: "), buf[:n]...), addr); err != nil {
				t.Fatal(err)
			}
			n, to, err := ReadPacket(stream, buf)
			if err != nil || !strings.HasPrefix(string(buf[:n]), "re: ") || to != from {
				t.Fatalf("%q to %v, %v", buf[:n], to, err)
			}
		}
		_ = d.Packets[name].Close()
		if _, _, err := d.Packets[name].ReadFrom(buf); err == nil {
			t.Error("read from a closed socket")
		}
	}
}

func TestDoorIsAnnouncedOnce(t *testing.T) {
	guest, host := carried(t)
	announced(t, guest, host, DoorTCP4)
	if _, err := host.DoorSockets(Door{Names: []string{DoorTCP6}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second door: %v", err)
	}
	_, host = carried(t)
	if _, err := host.DoorSockets(Door{Names: []string{DoorTCP4, DoorTCP4}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("two sockets of one name: %v", err)
	}
	_, host = opened(t)
	if _, err := host.DoorSockets(Door{Names: []string{DoorTCP4}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("where descriptors can be passed: %v", err)
	}
	if _, err := host.Carry(t.Context(), Visit{}); err == nil {
		t.Error("a connection was carried where descriptors can be passed")
	}
}

// TestUnprovenHost lets somebody who knows no secret try to open streams into a guest.
func TestUnprovenHost(t *testing.T) {
	a, b := pair(t)
	ended := make(chan error, 1)
	go func() { _, err := Accept(t.Context(), Relayed(a), secret); ended <- err }()
	m := mux.New(mux.Config{Conn: b})
	go m.Serve()
	defer m.Close()
	if _, err := m.Open(t.Context(), "{}"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, mux.ErrProtocol) {
		t.Errorf("Accept: %v", err)
	}
}

// FuzzPackets reads hostile datagrams: what is read must be what such a stream would have been written from.
func FuzzPackets(f *testing.F) {
	var seed bytes.Buffer
	_ = WritePacket(&seed, []byte("question"), netip.MustParseAddrPort("10.83.0.2:53"))
	f.Add(seed.Bytes())
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		var again bytes.Buffer
		buf := make([]byte, MaxDatagram)
		for {
			n, from, err := ReadPacket(r, buf)
			if err != nil {
				break
			}
			if err := WritePacket(&again, buf[:n], from); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(wire, again.Bytes()) {
			t.Fatalf("%x is not a prefix of %x", again.Bytes(), wire)
		}
	})
}

// FuzzLabel opens streams with hostile labels at a host that has a door.
func FuzzLabel(f *testing.F) {
	f.Add(`{"socket":"tcp4","to":"203.0.113.7:443","local":"127.0.0.1:1","remote":"[::1]:9"}`)
	f.Add(`{"socket":"tcp4","to":""}`)
	f.Fuzz(func(t *testing.T, label string) {
		s := &streams{}
		d, err := s.open([]string{DoorTCP4})
		if err != nil {
			t.Fatal(err)
		}
		m := mux.New(mux.Config{Conn: struct {
			io.Reader
			io.WriteCloser
		}{strings.NewReader(""), discard{}}, First: true})
		stream, err := m.Open(t.Context(), label)
		if err != nil || !s.arrived(stream) {
			return
		}
		c, err := d.Listeners[DoorTCP4].Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.LocalAddr().String(), c.RemoteAddr().String()
		if to, err := c.(visitor).OriginalDst(); (err == nil) != to.IsValid() {
			t.Errorf("%v, %v", to, err)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
