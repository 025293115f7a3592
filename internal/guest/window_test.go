package guest

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"moat/internal/line"
)

// TestWindow compares a window with the plain sequence of bytes that went into it, through random reading, sending,
// acknowledging and broken lines.
func TestWindow(t *testing.T) {
	for seed := range uint64(20) {
		m := &model{
			t: t, rnd: rand.New(rand.NewPCG(seed, 2)),
			w: window{pool: &pool{}}, sizes: map[uint64]int{}, now: time.Unix(0, 0),
		}
		steps := []func(){m.read, m.read, m.send, m.ack, m.sendEnds, m.breaks}
		for range 400 {
			steps[m.rnd.IntN(len(steps))]()
			if held := int(m.w.end - m.w.first); held > line.Window || m.w.cost > line.Window {
				t.Fatalf("%d bytes are kept, cost %d", held, m.w.cost)
			}
		}
		m.finish()
	}
}

// A model is a window, what should be in it, and a host.
type model struct {
	t       *testing.T
	rnd     *rand.Rand
	w       window
	now     time.Time
	all     []byte        // everything that was read
	streams []line.Stream // of each byte
	sizes   map[uint64]int
	got     uint64 // what the host recorded
	flying  []*block
}

func (m *model) read() {
	buf := m.w.space()
	if (buf == nil) != m.w.full() {
		m.t.Fatal("full and space disagree")
	}
	if buf == nil {
		return
	}
	n := 1 + m.rnd.IntN(len(buf))
	if m.rnd.IntN(3) > 0 {
		n = min(n, 1+m.rnd.IntN(20))
	}
	from := line.Stream(1 + m.rnd.IntN(2))
	for i := range n {
		buf[i] = byte(len(m.all) + i + i>>8)
	}
	m.all = append(m.all, buf[:n]...)
	for range n {
		m.streams = append(m.streams, from)
	}
	m.now = m.now.Add(time.Duration(m.rnd.IntN(60)) * time.Millisecond)
	m.w.commit(n, from, m.now)
}

func (m *model) send() {
	c, ok := m.w.take()
	if !ok {
		m.w.rest()
		return
	}
	m.flying = append(m.flying, c.block)
	o := c.out
	end := o.Offset + uint64(len(o.Data))
	if len(o.Data) > line.MaxData || !bytes.Equal(o.Data, m.all[o.Offset:end]) {
		m.t.Fatal("other bytes")
	}
	for _, from := range m.streams[o.Offset:end] {
		if from != o.Stream {
			m.t.Fatal("bytes of the other stream")
		}
	}
	if n, again := m.sizes[o.Offset]; again && n != len(o.Data) {
		m.t.Fatalf("a chunk of %d bytes has %d now", n, len(o.Data))
	}
	m.sizes[o.Offset] = len(o.Data)
	if o.Offset > m.got {
		m.t.Fatalf("byte %d came before byte %d", o.Offset, m.got)
	}
	m.got = max(m.got, end)
}

func (m *model) ack() {
	if !m.w.ack(m.got) || m.w.first != m.got {
		m.t.Fatal("the acknowledgement was refused")
	}
}

func (m *model) sendEnds() {
	for _, b := range m.flying {
		m.w.release(b)
	}
	m.flying = nil
}

func (m *model) breaks() {
	if m.rnd.IntN(4) == 0 && !m.w.resume(m.got) {
		m.t.Fatal("refused to resume")
	}
}

func (m *model) finish() {
	if m.w.ack(m.w.end + 1) {
		m.t.Fatal("what was never read was acknowledged")
	}
	m.sendEnds()
	if m.w.ack(m.w.end); m.w.cost != 0 || len(m.w.chunks) != 0 || m.w.block != nil && m.w.block.refs != 0 {
		m.t.Fatalf("left: cost %d, %d chunks", m.w.cost, len(m.w.chunks))
	}
}

// TestWindowPartlyAcknowledged: a host gets exactly what it asks for, even in the middle of a chunk.
func TestWindowPartlyAcknowledged(t *testing.T) {
	w := window{pool: &pool{}}
	copy(w.space(), "abcdef")
	w.commit(6, line.Stdout, time.Unix(1, 0))
	if !w.resume(2) {
		t.Fatal("refused")
	}
	c, ok := w.take()
	if !ok || string(c.out.Data) != "cdef" || c.out.Offset != 2 || w.first != 2 {
		t.Errorf("%q at %d", c.out.Data, c.out.Offset)
	}
}
