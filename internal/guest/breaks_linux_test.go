package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/frame"
	"moat/internal/guest"
	"moat/internal/line"
)

// A flaky connection breaks after so many bytes, in the middle of whatever that is.
type flaky struct {
	net.Conn
	in, out int
}

var errBroken = errors.New("the connection broke")

func (f *flaky) Read(p []byte) (int, error) {
	if f.in <= 0 {
		f.Close()
		return 0, errBroken
	}
	n, err := f.Conn.Read(p[:min(len(p), f.in)])
	f.in -= n
	return n, err
}

func (f *flaky) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p[:min(len(p), f.out)])
	if f.out -= n; err == nil && n < len(p) {
		f.Close()
		err = errBroken
	}
	return n, err
}

const (
	printer = 2
	echoer  = 3
	typist  = 1<<64 - 1 // the source of echoer's input
)

// A breaker is a host whose connection breaks again and again. What it recorded is all that it knows.
type breaker struct {
	t     *testing.T
	r     *rig
	dial  func(in, out int) (net.Conn, error) // a connection that breaks after so many bytes
	rnd   *rand.Rand
	spawn map[uint32]line.Spawn
	recs  map[uint32]*record
	input []byte
}

// round serves one connection until it breaks or everything has ended.
func (b *breaker) round(in, out int) {
	nc, err := b.dial(in, out)
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	c, w, err := line.Open(context.Background(), nc, secret)
	if err != nil {
		return
	}
	defer c.Close()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	known := map[uint32]line.ProcessState{}
	for _, st := range w.Processes {
		known[st.Process] = st
	}
	taken := uint64(0)
	for id, m := range b.spawn {
		if b.recs[id].exit == nil {
			_ = c.Send(m, line.Resume{Process: id, Offset: uint64(b.recs[id].all.Len())})
		}
		if st, ok := known[id]; ok {
			taken = max(taken, st.Input[typist])
		} else if b.recs[id].all.Len() > 0 {
			b.t.Fatalf("the guest forgot process %d", id)
		}
	}
	sent := taken - min(taken, b.rnd.Uint64N(5000)) // some again
	for !b.done() {
		sent = b.typeMore(c, sent, taken)
		m, err := c.Next()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				b.t.Fatalf("nothing comes; sent %d, taken %d", sent, taken)
			}
			return
		}
		switch m := m.(type) {
		case line.Output:
			if err := b.recs[m.Process].add(m); err != nil {
				b.t.Fatalf("process %d: %v", m.Process, err)
			}
			if b.rnd.IntN(3) > 0 {
				_ = c.Send(line.Ack{Process: m.Process, Offset: m.Offset + uint64(len(m.Data))})
			}
		case line.InputDone:
			taken = max(taken, m.Offset)
		case line.Exit:
			b.recs[m.Process].exit = &m
		}
	}
}

// typeMore sends as much input as may be on the way.
func (b *breaker) typeMore(c *line.Conn, sent, taken uint64) uint64 {
	for sent < uint64(len(b.input)) && sent < taken+line.InputWindow {
		n := min(1+b.rnd.Uint64N(line.MaxData), uint64(len(b.input))-sent, taken+line.InputWindow-sent)
		m := line.Input{Process: echoer, Source: typist, Offset: sent, Data: b.input[sent : sent+n]}
		sent += n
		m.EOF = sent == uint64(len(b.input))
		if c.Send(m) != nil {
			return sent
		}
	}
	return sent
}

func (b *breaker) done() bool { return b.recs[printer].exit != nil && b.recs[echoer].exit != nil }

// TestTheLineBreaks breaks the line at random bytes: no byte may be lost, doubled or out of its order, neither of
// output nor of input, and the exit status must arrive.
func TestTheLineBreaks(t *testing.T) {
	t.Run("on one kernel", func(t *testing.T) {
		r := serve(t, nil)
		breakLine(t, r, func(in, out int) (net.Conn, error) { return between(t, r.socket, in, out) })
	})
	t.Run("over plain bytes", func(t *testing.T) {
		r := serve(t, func(c *guest.Config) { c.Relayed = true })
		breakLine(t, r, func(in, out int) (net.Conn, error) {
			nc, err := net.Dial("unix", r.socket)
			return &flaky{nc, in, out}, err
		})
	})
}

// between dials a unix socket by way of somebody who breaks the connection.
func between(t *testing.T, socket string, in, out int) (net.Conn, error) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	guest, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	host, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		return nil, err
	}
	middle, err := l.Accept()
	if err != nil {
		return nil, err
	}
	f := &flaky{guest, in, out}
	for _, way := range [][2]net.Conn{{f, middle}, {middle, f}} {
		go func() {
			_, _ = io.Copy(struct{ io.Writer }{way[0]}, struct{ io.Reader }{way[1]})
			_, _ = f.Close(), middle.Close()
		}()
	}
	return host, nil
}

func breakLine(t *testing.T, r *rig, dial func(in, out int) (net.Conn, error)) {
	rounds, lines := 300, 400_000
	if testing.Short() {
		rounds, lines = 60, 80_000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b := &breaker{
		t: t, r: r, dial: dial, rnd: rand.New(rand.NewPCG(seed, 1)),
		recs: map[uint32]*record{printer: newRecord(), echoer: newRecord()},
		spawn: map[uint32]line.Spawn{
			printer: sh(printer, fmt.Sprintf(`awk 'BEGIN { for (i = 0; i < %d; i++) { print "out", i; print "err", i >"/dev/stderr" } }'; exit 42`, lines)),
			echoer:  {Process: echoer, Args: []string{"cat"}, Env: os.Environ(), Stdin: true},
		},
		input: make([]byte, rounds*20_000),
	}
	for i := range b.input {
		b.input[i] = byte(b.rnd.Uint32())
	}
	keeper := b.r.dial()
	keeper.send(sh(1, "sleep 1000"))
	_ = keeper.next()
	for range rounds {
		b.round(1+b.rnd.IntN(60_000), 1+b.rnd.IntN(80_000))
	}
	b.round(1<<40, 1<<40)

	for stream, word := range map[line.Stream]string{line.Stdout: "out", line.Stderr: "err"} {
		var want bytes.Buffer
		for i := range lines {
			fmt.Fprintf(&want, "%s %d\n", word, i)
		}
		if got := b.recs[printer].out[stream]; !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%s: %d bytes instead of %d, or others", word, got.Len(), want.Len())
		}
	}
	if !bytes.Equal(b.recs[echoer].all.Bytes(), b.input) {
		t.Errorf("input: %d bytes came back of %d, or others", b.recs[echoer].all.Len(), len(b.input))
	}
	if code := b.recs[printer].exit.Code; code != 42 {
		t.Errorf("exit code %d", code)
	}
}

func TestInputThatNobodyReads(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	m := sh(1, "sleep 1000")
	m.Stdin = true
	tty := sh(2, "stty raw; sleep 1000")
	tty.TTY, tty.Stdin = true, true
	h.send(m, tty)
	for _, p := range []uint32{1, 2} {
		for off := uint64(0); off < line.InputWindow; off += line.MaxData {
			h.send(line.Input{Process: p, Source: 1, Offset: off, Data: make([]byte, line.MaxData)})
		}
	}
	if rec := h.run(sh(3, "echo alive")); rec.all.String() != "alive\n" {
		t.Errorf("%+v", rec)
	}
	// A process that has ended takes everything, so that nobody waits for it.
	h.send(line.Signal{Process: 2, Signal: 9})
	for {
		if d, ok := h.next().(line.InputDone); ok && d.Process == 2 && d.Offset == line.InputWindow {
			break
		}
	}
}

func TestInputSources(t *testing.T) {
	h := serve(t, nil).dial()
	m := line.Spawn{Process: 1, Args: []string{"cat"}, Env: os.Environ(), Stdin: true}
	h.send(m)
	want := ""
	rec := newRecord()
	for i := range uint64(3 * line.MaxSources) { // more than are remembered at a time
		text := fmt.Sprintf("source %d\n", i)
		h.send(line.Input{Process: 1, Source: i, Offset: 1000, Data: []byte(text[:4])},
			line.Input{Process: 1, Source: i, Offset: 1000, Data: []byte(text)}, // its beginning again
			line.Input{Process: 1, Source: i, Offset: 1000, Data: []byte(text)})
		want += text
		h.until(1, rec, text)
	}
	h.send(line.Input{Process: 1, Source: 5000, EOF: true})
	h.follow(1, rec, func() bool { return rec.exit != nil })
	if rec.all.String() != want {
		t.Errorf("%q", rec.all.String())
	}
}

// FuzzPeers lets strangers and a broken host send bytes. The guest must live, and its command too.
func FuzzPeers(f *testing.F) {
	r := serve(f, nil)
	h := r.dial()
	h.send(line.Spawn{Process: 1, Args: []string{"cat"}, Env: os.Environ(), Stdin: true})
	pid := h.next().(line.Spawned).PID
	f.Add(false, []byte("\x00\x00\x00\x02Hx"))
	f.Add(true, frame.Append(frame.Append(nil, line.KindAck, make([]byte, 12)), line.KindResume, []byte(`{"process":1,"offset":0}`)))
	f.Add(true, frame.Append(nil, line.KindInput, append(make([]byte, 21), "data"...)))
	f.Add(true, frame.Append(nil, line.KindResize, []byte(`{"process":1}`)))
	f.Fuzz(func(t *testing.T, proven bool, in []byte) {
		r := &rig{t: t, socket: r.socket}
		nc, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if proven {
			if _, _, err := line.Open(t.Context(), nc, secret); err != nil {
				t.Fatal(err)
			}
			in = harmless(in)
		}
		_, _ = nc.Write(in)
		_ = nc.(*net.UnixConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if got := r.dial().state(1).PID; got != pid {
			t.Fatalf("pid %d instead of %d", got, pid)
		}
	})
}

// harmless leaves out frames that would start or end something on the machine that runs the test, and stdin's end.
func harmless(in []byte) (out []byte) {
	fr := frame.NewReader(bytes.NewReader(in))
	for {
		kind, payload, err := fr.Next()
		if err != nil {
			return out
		}
		switch kind {
		case line.KindSpawn, line.KindPart, line.KindSignal, line.KindRelease, line.KindShutdown:
		case line.KindInput:
			if len(payload) > 20 && payload[20] == 0 {
				out = frame.Append(out, kind, payload)
			}
		default:
			out = frame.Append(out, kind, payload)
		}
	}
}
