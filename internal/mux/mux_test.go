package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/frame"
)

// pair returns two ends that serve, and the streams that the second one accepts.
func pair(t *testing.T) (a, b *Mux, accepted chan *Stream) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	ca, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	cb, err := l.Accept()
	check(t, err)
	accepted = make(chan *Stream, Streams)
	a = New(Config{Conn: ca, First: true})
	b = New(Config{Conn: cb, Accept: func(s *Stream) bool { accepted <- s; return s.Label() != "unwanted" }})
	var wait sync.WaitGroup
	for _, m := range []*Mux{a, b} {
		wait.Go(func() { _ = m.Serve() })
	}
	t.Cleanup(func() {
		_, _ = a.Close(), b.Close()
		wait.Wait()
	})
	return a, b, accepted
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, m *Mux, label string) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := m.Open(ctx, label)
	check(t, err)
	return s
}

// TestManyStreams sends different bytes on many streams at the same time, both ways.
func TestManyStreams(t *testing.T) {
	a, b, accepted := pair(t)
	content := func(label string) []byte {
		seed := [32]byte{}
		copy(seed[:], label)
		data := make([]byte, 100_000+rand.IntN(400_000))
		_, _ = rand.NewChaCha8(seed).Read(data)
		return data
	}
	echo := func(s *Stream) error {
		defer s.Close()
		if _, err := io.Copy(s, struct{ io.Reader }{s}); err != nil {
			return err
		}
		return s.CloseWrite()
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		var each sync.WaitGroup
		for range 20 {
			s := <-accepted
			each.Go(func() {
				if err := echo(s); err != nil {
					t.Errorf("echo of %s: %v", s.Label(), err)
				}
			})
		}
		each.Wait()
	})
	exchange := func(s *Stream, want []byte) {
		var each sync.WaitGroup
		each.Go(func() {
			if _, err := s.Write(want); err != nil {
				t.Error(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		var got bytes.Buffer
		if _, err := s.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("stream %q: %d bytes came back of %d, %v", s.Label(), got.Len(), len(want), err)
		}
		each.Wait()
	}
	for i := range 20 {
		label := strings.Repeat("x", i+1)
		wait.Go(func() {
			s := open(t, a, label)
			defer s.Close()
			exchange(s, content(label))
		})
	}
	go func() { _, _ = io.Copy(b.Main(), struct{ io.Reader }{b.Main()}) }()
	want := content("main")
	go func() { _, _ = a.Main().Write(want) }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(a.Main(), got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("stream 0: %v", err)
	}
	wait.Wait()
	awaitHeard(t, a)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.streams) != 1 || a.opened != [2]int{} || a.extra != a.main.window-Initial {
		t.Errorf("afterwards there are %d streams, %v, %d bytes of windows", len(a.streams), a.opened, a.extra)
	}
}

// TestSlowReader leaves one stream unread: the others and stream 0 go on, and its writer waits.
func TestSlowReader(t *testing.T) {
	a, b, accepted := pair(t)
	slow := open(t, a, "slow")
	<-accepted
	check(t, slow.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	n, err := slow.Write(make([]byte, 1<<20))
	if n != Initial || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes were sent, %v; want %d and an expired deadline", n, err, Initial)
	}
	quick := open(t, a, "quick")
	theirs := <-accepted
	go func() { _, _ = io.Copy(theirs, struct{ io.Reader }{theirs}) }()
	go func() { _, _ = quick.Write(make([]byte, 4<<20)) }()
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{quick}, 4<<20); err != nil {
		t.Errorf("beside a slow stream: %v", err)
	}
	go func() { _, _ = b.Main().Write([]byte("hello")) }()
	if _, err := io.ReadFull(a.Main(), make([]byte, 5)); err != nil {
		t.Errorf("stream 0 beside a slow stream: %v", err)
	}
	if theirs.window <= Initial {
		t.Error("the window of a stream that is read at once did not grow")
	}
}

// TestEnds looks at what each way to end a stream means for the other side.
func TestEnds(t *testing.T) {
	a, _, accepted := pair(t)
	for _, test := range []struct {
		name     string
		end      func(*Stream)
		read     string
		readErr  error
		writeErr error
	}{
		{"half closed", func(s *Stream) { check(t, s.CloseWrite()) }, "said", io.EOF, nil},
		{"closed", func(s *Stream) { check(t, s.Close()) }, "said", io.EOF, ErrReset},
		{"reset", func(s *Stream) { s.Reset() }, "", ErrReset, ErrReset},
		{"reset after an end", func(s *Stream) { check(t, s.CloseWrite()); s.Reset() }, "", ErrReset, ErrReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, a, "")
			_, err := s.Write([]byte("said"))
			check(t, err)
			test.end(s)
			theirs := <-accepted
			awaitHeard(t, a)
			<-accepted // the mark
			got, err := io.ReadAll(struct{ io.Reader }{theirs})
			if err == nil {
				err = io.EOF
			}
			if string(got) != test.read || !errors.Is(err, test.readErr) {
				t.Errorf("read %q, %v; want %q, %v", got, err, test.read, test.readErr)
			}
			if _, err := theirs.Write([]byte("more")); !errors.Is(err, test.writeErr) {
				t.Errorf("write: %v, want %v", err, test.writeErr)
			}
			check(t, theirs.Close())
			if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read after Close: %v", err)
			}
			_ = s.Close()
		})
	}
}

// awaitHeard waits until the peer has ended a stream as far as the test wants: its last frame was handled.
func awaitHeard(t *testing.T, peer *Mux) {
	t.Helper()
	mark := open(t, peer, "unwanted")
	if _, err := mark.Read(make([]byte, 1)); !errors.Is(err, ErrReset) { // comes after what was sent before
		t.Fatal(err)
	}
	_ = mark.Close()
}

// TestPlaces opens as many streams as there may be, and one more.
func TestPlaces(t *testing.T) {
	a, _, accepted := pair(t)
	var all []*Stream
	for range Streams {
		all = append(all, open(t, a, ""))
		<-accepted
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Open(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("one stream too many: %v", err)
	}
	all[7].Reset()
	opened := make(chan *Stream, 1)
	go func() { s, _ := a.Open(context.Background(), "late"); opened <- s }()
	select {
	case <-opened:
		t.Fatal("a place was taken that the peer has not given back")
	case <-time.After(50 * time.Millisecond):
	}
	_ = a.Close()
	if s := <-opened; s != nil {
		t.Error("a stream was opened on a connection that has ended")
	}
}

// TestRefused opens a stream that the peer does not want.
func TestRefused(t *testing.T) {
	a, _, _ := pair(t)
	s := open(t, a, "unwanted")
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("read: %v", err)
	}
	check(t, s.Close())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.opened != [2]int{} {
		t.Errorf("%v streams are left", a.opened)
	}
}

// number is a stream's number, as it begins each frame.
func number(id uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, id), rest...)
}

// TestBrokenProtocol ends the connection with a peer that does not keep the rules.
func TestBrokenProtocol(t *testing.T) {
	opened := frame.Append(nil, kindOpen, number(1))
	for name, wire := range map[string][]byte{
		"no stream":                  frame.Append(nil, kindData, []byte{0, 0, 0}),
		"unknown kind":               frame.Append(nil, '?', number(0)),
		"stream that is not open":    frame.Append(nil, kindData, number(1, 'x')),
		"number of the other side":   frame.Append(nil, kindOpen, number(2)),
		"stream 0 opened":            frame.Append(nil, kindOpen, number(0)),
		"stream 0 closed":            frame.Append(nil, kindClose, number(0)),
		"opened twice":               append(opened, opened...),
		"label that is too long":     frame.Append(nil, kindOpen, number(1, make([]byte, MaxLabel+1)...)),
		"empty data":                 frame.Append(nil, kindData, number(0)),
		"data after an end":          frame.Append(frame.Append(opened, kindEnd, number(1)), kindData, number(1, 'x')),
		"two ends":                   frame.Append(frame.Append(opened, kindEnd, number(1)), kindEnd, number(1)),
		"end after a close":          frame.Append(frame.Append(opened, kindClose, number(1)), kindEnd, number(1)),
		"window after a reset":       frame.Append(frame.Append(opened, kindReset, number(1)), kindWindow, number(1, 0, 0, 0, 1)),
		"impossible window":          frame.Append(nil, kindWindow, number(0, 0x7f, 0xff, 0xff, 0xff)),
		"window of another length":   frame.Append(nil, kindWindow, number(0, 1)),
		"end with something in it":   frame.Append(opened, kindEnd, number(1, 'x')),
		"more data than allowed":     frame.Append(frame.Append(nil, kindData, number(0, make([]byte, maxData)...)), kindData, number(0, 'x')),
		"data in too large a frame":  frame.Append(nil, kindData, number(0, make([]byte, maxData+1)...)),
		"frame of impossible length": {0xff, 0xff, 0xff, 0xff, 'D'},
	} {
		t.Run(name, func(t *testing.T) {
			c := &recording{in: bytes.NewReader(wire)}
			m := New(Config{Conn: c, Accept: func(*Stream) bool { return true }})
			if err := m.Serve(); !errors.Is(err, ErrProtocol) && !errors.Is(err, frame.ErrSize) {
				t.Errorf("Serve() = %v", err)
			}
			if _, err := m.Main().Write([]byte("x")); err == nil {
				t.Error("the connection can still be written to")
			}
		})
	}
	t.Run("streams where none are expected", func(t *testing.T) {
		m := New(Config{Conn: &recording{in: bytes.NewReader(opened)}})
		if err := m.Serve(); !errors.Is(err, ErrProtocol) {
			t.Errorf("Serve() = %v", err)
		}
	})
}

// recording is a connection whose peer says something and hears everything.
type recording struct {
	in io.Reader
	mu sync.Mutex
	n  int
}

func (r *recording) Read(p []byte) (int, error) { return r.in.Read(p) }
func (r *recording) Close() error               { return nil }
func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n += len(p)
	return len(p), nil
}

// TestEndOfConnection: stream 0 gives what came and then the end, the others are broken.
func TestEndOfConnection(t *testing.T) {
	wire := frame.Append(frame.Append(nil, kindOpen, number(1)), kindData, number(0, []byte("last words")...))
	var other *Stream
	m := New(Config{Conn: &recording{in: bytes.NewReader(wire)}, Accept: func(s *Stream) bool { other = s; return true }})
	if err := m.Serve(); !errors.Is(err, io.EOF) {
		t.Errorf("Serve() = %v", err)
	}
	if got, err := io.ReadAll(struct{ io.Reader }{m.Main()}); string(got) != "last words" || err != nil {
		t.Errorf("stream 0: %q, %v", got, err)
	}
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("another stream: %v", err)
	}
}

// FuzzServe lets a hostile peer say anything. What is kept in memory for it stays bounded, and nothing hangs.
func FuzzServe(f *testing.F) {
	f.Add(frame.Append(frame.Append(nil, kindOpen, number(1, 'l')), kindData, number(1, 'x')))
	f.Add(frame.Append(frame.Append(nil, kindData, number(0, 'x')), kindWindow, number(0, 0, 0, 0, 9)))
	f.Add(frame.Append(frame.Append(nil, kindOpen, number(3)), kindReset, number(3)))
	f.Fuzz(func(t *testing.T, wire []byte) {
		var streams []*Stream
		m := New(Config{Conn: &recording{in: bytes.NewReader(wire)}, Accept: func(s *Stream) bool {
			streams = append(streams, s)
			return len(s.Label())%3 != 2
		}})
		if err := m.Serve(); err == nil {
			t.Fatal("no error at the end")
		}
		for _, s := range append(streams, m.Main()) {
			if kept := len(s.in) - s.off; kept > s.window || s.expected < 0 {
				t.Fatalf("stream %d keeps %d bytes in a window of %d", s.id, kept, s.window)
			}
			if _, err := io.Copy(io.Discard, struct{ io.Reader }{s}); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("a deadline that nobody has set")
			}
			_ = s.Close()
		}
		if m.opened[0] < 0 || m.opened[1] < 0 || m.opened[1] > Streams {
			t.Fatalf("%v streams", m.opened)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ca, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	cb, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	one, two := New(Config{Conn: ca, First: true}), New(Config{Conn: cb})
	go one.Serve()
	go two.Serve()
	defer one.Close()
	defer two.Close()
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	go func() {
		for range b.N {
			_, _ = one.Main().Write(buf)
		}
	}()
	for range b.N {
		if _, err := io.ReadFull(two.Main(), buf); err != nil {
			b.Fatal(err)
		}
	}
}
