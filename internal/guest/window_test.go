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
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		w := window{pool: &pool{}}
		var all []byte            // that was read
		var streams []line.Stream // of each byte
		bounds := map[uint64]int{}
		now, got := time.Unix(0, 0), uint64(0) // got: what the host recorded
		var flying []*block
		for range 400 {
			switch rnd.IntN(5) {
			case 0, 1:
				buf := w.space()
				if (buf == nil) != w.full() {
					t.Fatal("full and space disagree")
				}
				if buf == nil {
					continue
				}
				n := 1 + rnd.IntN(len(buf))
				if rnd.IntN(2) == 0 {
					n = min(n, 1+rnd.IntN(20))
				}
				from := line.Stream(1 + rnd.IntN(2))
				for i := range n {
					buf[i] = byte(len(all) + i + i>>8)
					streams = append(streams, from)
				}
				all = append(all, buf[:n]...)
				now = now.Add(time.Duration(rnd.IntN(60)) * time.Millisecond)
				w.commit(n, from, now)
			case 2:
				c, ok := w.take()
				if !ok {
					w.rest()
					continue
				}
				flying = append(flying, c.block)
				o := c.out
				if !bytes.Equal(o.Data, all[o.Offset:o.Offset+uint64(len(o.Data))]) || len(o.Data) > line.MaxData {
					t.Fatal("other bytes")
				}
				for i := range o.Data {
					if streams[int(o.Offset)+i] != o.Stream {
						t.Fatal("bytes of the other stream")
					}
				}
				if n, again := bounds[o.Offset]; again && n != len(o.Data) {
					t.Fatalf("a chunk of %d bytes has %d now", n, len(o.Data))
				}
				bounds[o.Offset] = len(o.Data)
				if o.Offset > got {
					t.Fatalf("byte %d came before byte %d", o.Offset, got)
				}
				got = max(got, o.Offset+uint64(len(o.Data)))
			case 3:
				if !w.ack(got) || w.first != got {
					t.Fatal("the acknowledgement was refused")
				}
			case 4:
				for _, b := range flying {
					w.release(b)
				}
				flying = nil
				if rnd.IntN(4) == 0 && !w.resume(got) {
					t.Fatal("refused to resume")
				}
			}
			if held := int(w.end - w.first); held > line.Window || w.cost > line.Window {
				t.Fatalf("%d bytes are kept, cost %d", held, w.cost)
			}
		}
		if w.ack(w.end + 1) {
			t.Fatal("what was never read was acknowledged")
		}
		for _, b := range flying {
			w.release(b)
		}
		if w.ack(w.end); w.cost != 0 || len(w.chunks) != 0 || w.block != nil && w.block.refs != 0 {
			t.Fatalf("left: cost %d, %d chunks", w.cost, len(w.chunks))
		}
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
