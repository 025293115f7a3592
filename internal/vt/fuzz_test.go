package vt

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkInvariants fails if t is in a state that nothing may bring it to.
func checkInvariants(tb testing.TB, t *Terminal) {
	tb.Helper()
	if t.x < 0 || t.x >= t.cols || t.y < 0 || t.y >= t.rows || t.pending && t.x > t.cols-1 {
		tb.Fatalf("cursor %d,%d on %dx%d", t.x, t.y, t.cols, t.rows)
	}
	if t.top < 0 || t.top > t.bottom || t.bottom >= t.rows || t.left < 0 || t.left > t.right || t.right >= t.cols {
		tb.Fatalf("margins %d-%d %d-%d on %dx%d", t.top, t.bottom, t.left, t.right, t.cols, t.rows)
	}
	if len(t.tabs) != t.cols {
		tb.Fatalf("%d tab stops in %d columns", len(t.tabs), t.cols)
	}
	for _, s := range []*screen{&t.main, &t.alt} {
		for i := range s.ring {
			checkRow(tb, t, &s.ring[i])
		}
	}
	bytes := 0
	for i := range t.hist.n {
		bytes += len(t.hist.at(i).data) + recordOverhead
	}
	if bytes != t.hist.bytes || t.hist.n > t.hist.maxLines || bytes > t.hist.maxBytes {
		tb.Fatalf("scrollback of %d rows has %d bytes, says %d", t.hist.n, bytes, t.hist.bytes)
	}
}

func checkRow(tb testing.TB, t *Terminal, r *row) {
	tb.Helper()
	if len(r.cells) != t.cols || r.used > t.cols {
		tb.Fatalf("row of %d cells, %d used, in %d columns", len(r.cells), r.used, t.cols)
	}
	for x, c := range r.cells {
		switch {
		case x >= r.used && c != (cell{}):
			tb.Fatalf("cell %d is not blank and over %d", x, r.used)
		case c.ch == 0 && c.attr&attrTail == 0 && c != c.blank():
			tb.Fatalf("blank cell %d has more than a background", x)
		case c.attr&attrWide != 0 && (x+1 == t.cols || r.cells[x+1].attr&attrTail == 0):
			tb.Fatalf("half a wide character at %d", x)
		case c.attr&attrTail != 0 && (x == 0 || r.cells[x-1].attr&attrWide == 0):
			tb.Fatalf("the other half of a wide character at %d", x)
		case c.ch&clusterBit != 0 && int(c.ch&^clusterBit) >= len(t.clusters.text):
			tb.Fatalf("cell %d has no text", x)
		case c.ext != 0 && int(c.ext) >= len(t.exts.list):
			tb.Fatalf("cell %d has no ext", x)
		}
	}
}

func addSeeds(f *testing.F, add func(data []byte)) {
	for i, c := range readCases(f) {
		if i%4 == 0 {
			add(c.data)
		}
	}
}

// FuzzWrite feeds hostile output in two parts.
func FuzzWrite(f *testing.F) {
	addSeeds(f, func(b []byte) { f.Add(b, uint16(len(b)/2), uint8(12), uint8(6)) })
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, cols, rows uint8) {
		one := New(int(cols), int(rows), Options{Scrollback: 50, ScrollbackBytes: 4096})
		two := New(int(cols), int(rows), Options{Scrollback: 50, ScrollbackBytes: 4096})
		one.Write(data)
		checkInvariants(t, one)
		n := min(int(cut), len(data))
		two.Write(data[:n])
		checkInvariants(t, two)
		two.Write(data[n:])
		if d := cmp.Diff(dump(one), dump(two)); d != "" {
			t.Errorf("written in two parts (-one +two):\n%s", d)
		}
	})
}

// FuzzSnapshot checks that a snapshot says everything, in any state.
func FuzzSnapshot(f *testing.F) {
	addSeeds(f, func(b []byte) { f.Add(b, uint16(len(b)/2), uint8(12), uint8(6)) })
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, cols, rows uint8) {
		checkCut(t, recording{"", max(int(cols)%40, 2), max(int(rows)%20, 2), data}, min(int(cut), len(data)))
	})
}

// FuzzResize resizes in the middle of output; a snapshot still says everything.
func FuzzResize(f *testing.F) {
	addSeeds(f, func(b []byte) { f.Add(b, uint16(len(b)), uint8(7), uint8(4), uint8(20), uint8(9)) })
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, c1, r1, c2, r2 uint8) {
		term := New(12, 6, Options{Scrollback: 100})
		n := min(int(cut), len(data))
		term.Write(data[:n])
		term.Resize(max(int(c1)%40, 2), max(int(r1)%20, 2))
		checkInvariants(t, term)
		term.Write(data[n:])
		checkInvariants(t, term)
		term.Resize(max(int(c2)%40, 2), max(int(r2)%20, 2))
		checkInvariants(t, term)
		if d := cmp.Diff(dump(term), dump(restored(term))); d != "" {
			t.Errorf("snapshot after a resize (-want +got):\n%s", d)
		}
	})
}
