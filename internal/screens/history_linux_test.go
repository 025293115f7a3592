package screens

import (
	"fmt"
	"strings"
	"testing"
)

// printer prints numbered lines, some of them long, and then more whenever Enter is typed.
const printer = `i=0; while :; do n=0; while [ $n -lt 60 ]; do n=$((n+1)); i=$((i+1)); echo "entry $i;"; [ $((i%10)) = 0 ] && echo "$i is followed by a line that is longer than the terminal is wide, so that it goes on in the next row"; done; printf 'more? '; read x; done`

// once checks that of the entries 1 to n each is there exactly once, in their order.
func once(t *testing.T, what, text string, n int) {
	t.Helper()
	last := 0
	for line := range strings.Lines(text) {
		var i int
		if _, err := fmt.Sscanf(line, "entry %d;", &i); err != nil {
			continue
		}
		if i != last+1 {
			t.Errorf("%s: entry %d comes after %d", what, i, last)
			return
		}
		last = i
	}
	if last != n {
		t.Errorf("%s: there are %d entries, not %d", what, last, n)
	}
}

// TestHistory: what has scrolled off is in the terminal's own scrollback, once, however often one comes back, from this
// terminal or another one, and of the same size or not.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := startPanes(h)
	shell := func(name string, cols int) pane {
		q := p.open(name, cols, 24, "env", "PS1=% ", "sh")
		q.sees("%")
		return q
	}
	q := shell("one", 80)
	h.start("hist", "sh", "-c", printer)
	attach := func(q pane, flags string) {
		q.keys(h.moat+" -q attach "+flags+" hist", "Enter")
		q.sees("more?")
	}
	n := 60
	for range rounds(t, 4) {
		attach(q, "")
		once(t, "attached", q.history(), n)
		q.keys("Enter")
		n += 60
		q.sees(fmt.Sprintf("entry %d;", n))
		once(t, "after more", q.history(), n)
		q.keys("C-_", "d")
		q.sees("%")
		if t.Failed() {
			t.FailNow()
		}
	}
	other := shell("two", 63)
	attach(other, "")
	once(t, "in another terminal", other.history(), n)
	other.keys("C-_", "d")
	other.sees("%")
	attach(q, "")
	once(t, "back in the first, after another size", q.history(), n)
	q.keys("C-_", "d")
	none := shell("three", 80)
	attach(none, "--no-scrollback")
	if text := none.history(); strings.Contains(text, "entry 1;") || !strings.Contains(text, fmt.Sprintf("entry %d;", n)) {
		t.Errorf("--no-scrollback shows:\n%s", text)
	}
}

// TestHistoryAfterFlood: a terminal that falls behind is repainted, as often as it does, and has nothing twice.
func TestHistoryAfterFlood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("flood", "sh", "-c", "for i in 1 2 3; do read x; /workspace/actor flood 12 ${i}000000; done; read x")
	s := h.sit(120, 24, "-q", "attach", "flood")
	s.raw()
	for i := range 3 {
		s.pause(true)
		s.typed("\r")
		mark := fmt.Sprintf("flooded %d000000", i+1)
		if !within(patience, func() bool { return strings.Contains(h.must("logs", "-n", "1", "flood"), mark) }) {
			t.Fatal("the run waits for a terminal that does not read")
		}
		s.pause(false)
		s.sees(mark)
	}
	last, lines := -1, 0
	for line := range strings.Lines(s.everything()) {
		var n int
		if _, err := fmt.Sscanf(line, "line %d ", &n); err != nil {
			continue
		}
		if n <= last {
			t.Errorf("line %d comes after %d", n, last)
		}
		last = n
		lines++
	}
	if sent := len(s.all()); lines != 9720 || sent > 30e6 {
		t.Errorf("there are %d lines of 9720, for which %d bytes were sent", lines, sent)
	}
	s.detach()
}
