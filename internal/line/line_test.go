package line

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/frame"
)

var secret = bytes.Repeat([]byte{7}, 32)

// pair returns two ends of a unix socket.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); s.Close() })
	return s.(*net.UnixConn), d.(*net.UnixConn)
}

// opened returns an open line without the opening.
func opened(t testing.TB) (guest, host *Conn) {
	a, b := pair(t)
	guest, host = newConn(a, hostSide), newConn(b, guestSide)
	guest.proven, host.proven = true, true
	t.Cleanup(func() { guest.Close(); host.Close() })
	return guest, host
}

func TestEveryMessageTravels(t *testing.T) {
	now := time.Unix(1700000000, 123456789)
	exit := Exit{Process: 3, Code: 137, Signal: 9, Time: now.UTC(), Cut: true}
	fromGuest := []Message{
		Hello{Version: Version, Nonce: make([]byte, nonceSize)},
		Welcome{Processes: []ProcessState{{Process: 1, PID: 2, First: 3, End: 4, Input: map[uint64]uint64{1<<64 - 1: 7}, Exit: &exit}}, More: true},
		Spawned{Process: 1, PID: 7},
		Failed{Process: 1, Code: 127, Error: "x: command not found"},
		Output{Process: 1, Stream: Stderr, Offset: 1 << 40, Time: now, Data: []byte("a\x00\xff\n")},
		Output{Process: 1<<32 - 1, Stream: Terminal, Time: now, Data: bytes.Repeat([]byte{'z'}, MaxData)},
		InputDone{Process: 1, Source: 1<<64 - 1, Offset: 9},
		exit,
	}
	fromHost := []Message{
		Proof{Version: Version, MAC: []byte("mac")},
		Resume{Process: 1, Offset: maxOffset},
		Spawn{Process: 1, Args: []string{"a\xff\xfe", ""}, Env: []string{}, Dir: "/\xff", Stdin: true, TTY: true, Rows: 65535, Cols: 1},
		Spawn{Process: 1, Args: []string{strings.Repeat("long\n\x01", 30_000)}},
		Ack{Process: 1, Offset: 5},
		Input{Process: 1, Source: 2, Offset: 3, EOF: true, Data: []byte{}},
		Input{Process: 1, Source: 2, Offset: 3, Data: bytes.Repeat([]byte{1}, MaxData)},
		Signal{Process: 1, Signal: 64},
		Resize{Process: 1, Rows: 0, Cols: 65535},
		Release{Process: 1},
		Shutdown{},
	}
	guest, host := opened(t)
	for _, way := range []struct {
		from, to *Conn
		msgs     []Message
	}{{guest, host, fromGuest}, {host, guest, fromHost}} {
		var sent sync.WaitGroup
		sent.Go(func() {
			for _, m := range way.msgs { // alone …
				if err := way.from.Send(m); err != nil {
					t.Errorf("send %T: %v", m, err)
				}
			}
			if err := way.from.Send(way.msgs...); err != nil { // … and together
				t.Error(err)
			}
		})
		for _, want := range append(way.msgs, way.msgs...) {
			got, err := way.to.Next()
			if err != nil {
				t.Fatalf("%T: %v", want, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%T (-sent +received):\n%s", want, d)
			}
		}
		sent.Wait()
	}
}

func TestInvalidMessagesAreNotSent(t *testing.T) {
	guest, host := opened(t)
	for _, m := range []Message{
		Signal{Process: 1, Signal: 0},
		Signal{Process: 1, Signal: 65},
		Spawn{Process: 1},
		Spawn{Process: 1, Args: []string{""}},
		Spawn{Process: 1, Args: []string{"a\x00b"}},
		Spawn{Process: 1, Args: []string{"a"}, Env: []string{"K=\x00"}},
		Spawn{Process: 1, Args: []string{strings.Repeat("x", MaxSpawn*3/4)}},
		Input{Data: make([]byte, MaxData+1)},
		Input{Offset: 1<<64 - 1, Data: []byte("x")},
		Ack{Offset: 1 << 63},
		Files{},
		Files{Names: []string{"a"}},
	} {
		if err := host.Send(Release{1}, m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%#.60v: %v", m, err)
		}
	}
	if err := host.Send(Release{2}); err != nil {
		t.Fatal(err)
	}
	if m, err := guest.Next(); err != nil || m != (Release{2}) {
		t.Fatalf("after refused messages: %v, %v", m, err)
	}
}

func TestWrongDirectionEndsTheLine(t *testing.T) {
	guest, host := opened(t)
	if err := guest.Send(Ack{}); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Next(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := host.Send(Spawned{PID: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Next(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestConcurrentSenders(t *testing.T) {
	guest, host := opened(t)
	const senders, each = 8, 500
	for i := range senders {
		go func() {
			data := bytes.Repeat([]byte{byte(i)}, 1+i*1500)
			for n := range each {
				if guest.Send(Output{Process: uint32(i), Stream: Stdout, Offset: uint64(n * len(data)), Data: data}) != nil {
					return
				}
			}
		}()
	}
	var next [senders]uint64
	for range senders * each {
		m, err := host.Next()
		if err != nil {
			t.Fatal(err)
		}
		o := m.(Output)
		if o.Offset != next[o.Process] || !bytes.Equal(o.Data, bytes.Repeat([]byte{byte(o.Process)}, len(o.Data))) {
			t.Fatalf("sender %d: offset %d instead of %d", o.Process, o.Offset, next[o.Process])
		}
		next[o.Process] += uint64(len(o.Data))
	}
}

func TestOpening(t *testing.T) {
	states := make([]ProcessState, MaxProcesses)
	for i := range states {
		in := map[uint64]uint64{}
		for j := range MaxSources {
			in[^uint64(j)] = maxOffset
		}
		states[i] = ProcessState{Process: uint32(1<<32 - 1 - i), PID: 1 << 22, First: maxOffset, End: maxOffset, Input: in,
			Exit: &Exit{Code: 255, Signal: 64, Time: time.Unix(1, 1).UTC()}}
	}
	for _, n := range []int{0, 1, welcomeBatch, welcomeBatch + 1, MaxProcesses} {
		a, b := pair(t)
		go func() {
			if g, err := Accept(t.Context(), a, secret); err == nil {
				_ = g.SendWelcome(states[:n])
			}
		}()
		h, w, err := Open(t.Context(), b, secret)
		if err != nil {
			t.Fatal(n, err)
		}
		if d := cmp.Diff(states[:n], append([]ProcessState{}, w.Processes...)); d != "" {
			t.Error(d)
		}
		h.Close()
	}
}

func TestOpeningFails(t *testing.T) {
	hello := func(version int) []byte {
		b, _, _ := encode(nil, Hello{Version: version, Nonce: make([]byte, nonceSize)})
		return b
	}
	var version *VersionError
	t.Run("wrong secret", func(t *testing.T) {
		a, b := pair(t)
		res := make(chan error, 1)
		go func() { _, err := Accept(t.Context(), a, secret); res <- err }()
		if _, _, err := Open(t.Context(), b, make([]byte, 32)); !errors.Is(err, ErrProof) {
			t.Errorf("host: %v", err)
		}
		if err := <-res; !errors.Is(err, ErrProof) {
			t.Errorf("guest: %v", err)
		}
	})
	t.Run("another guest", func(t *testing.T) {
		a, b := pair(t)
		_, _ = a.Write(hello(99))
		if _, _, err := Open(t.Context(), b, secret); !errors.As(err, &version) || version.Theirs != 99 || version.Ours != Version {
			t.Error(err)
		}
	})
	t.Run("another host", func(t *testing.T) {
		a, b := pair(t)
		_, _ = b.Write(frame.Append(nil, KindProof, []byte(`{"version":98}`)))
		if _, err := Accept(t.Context(), a, secret); !errors.As(err, &version) || version.Theirs != 98 {
			t.Error(err)
		}
	})
	t.Run("no secret", func(t *testing.T) {
		a, _ := pair(t)
		if _, err := Accept(t.Context(), a, nil); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("something else first", func(t *testing.T) {
		for _, kind := range []byte{KindShutdown, KindPart, KindSpawn, '?'} {
			a, b := pair(t)
			_, _ = b.Write(frame.Append(nil, kind, []byte("{}")))
			if _, err := Accept(t.Context(), a, secret); !errors.Is(err, ErrProof) && !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		}
	})
	t.Run("silence and a cancelled context", func(t *testing.T) {
		a, b := pair(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err := Accept(ctx, a, secret); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, b) // ends because Accept closed its end
	})
}

// FuzzDecode feeds hostile frames to both ends; what is accepted must survive encoding and decoding.
func FuzzDecode(f *testing.F) {
	for _, m := range []Message{
		Hello{Version: 1, Nonce: make([]byte, nonceSize)}, Proof{Version: 1}, Welcome{Processes: []ProcessState{{PID: 1, Input: map[uint64]uint64{1: 1}}}},
		Resume{}, Spawn{Args: []string{"a"}, Env: []string{"b"}}, Spawned{PID: 1}, Failed{Code: 1}, Output{Stream: 1, Data: []byte("x")},
		Ack{}, Input{EOF: true, Data: []byte("x")}, InputDone{}, Signal{Signal: 1}, Resize{}, Exit{}, Release{}, Files{Names: []string{"x"}}, Shutdown{},
	} {
		b, tail, err := encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, tail...))
	}
	f.Add(frame.Append(frame.Append(nil, KindPart, []byte(`{"args":`)), KindSpawn, []byte(`["YQ=="]}`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, from := range []side{guestSide, hostSide} {
			c := &Conn{from: from, proven: true, in: plainSource{bytes.NewReader(in)}}
			c.r = frame.NewReader(c.in)
			for {
				m, err := c.Next()
				if err != nil {
					break
				}
				b, tail, err := encode(nil, m)
				if err != nil {
					t.Fatalf("%#v was accepted and cannot be sent: %v", m, err)
				}
				again, err := decode(m.Kind(), append(b, tail...)[5:])
				if err != nil {
					t.Fatalf("%#v: %v", m, err)
				}
				if d := cmp.Diff(m, again); d != "" {
					t.Fatal(d)
				}
			}
		}
	})
}

func BenchmarkOutput(b *testing.B) {
	for name, size := range map[string]int{"64KiB": MaxData, "100B": 100} {
		b.Run(name, func(b *testing.B) {
			guest, host := opened(b)
			b.SetBytes(int64(size))
			data := make([]byte, size)
			go func() {
				msgs := make([]Message, 16)
				for j := range msgs {
					msgs[j] = Output{Process: 1, Stream: Stdout, Time: time.Unix(1, 1), Data: data}
				}
				for guest.Send(msgs...) == nil {
				}
			}()
			for b.Loop() {
				if _, err := host.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
