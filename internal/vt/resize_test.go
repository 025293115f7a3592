package vt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resizeCase is output on a screen of 12x6, then new sizes, then more output.
type resizeCase struct {
	name  string
	data  string
	sizes [][2]int
	after string
}

func (c resizeCase) steps() []step {
	steps := []step{{data: []byte(c.data)}}
	for _, s := range c.sizes {
		steps = append(steps, step{cols: s[0], rows: s[1]})
	}
	return append(steps, step{data: []byte(c.after)})
}

func resizeCases() []resizeCase {
	const six = "1\r\n2\r\n3\r\n4\r\n5\r\n6"
	const wrapped = "ABCDEFGHIJKLMNOPQRST"
	var out []resizeCase
	add := func(name, data, after string, sizes ...[2]int) {
		out = append(out, resizeCase{name, data, sizes, after})
	}
	for _, s := range [][2]int{{8, 6}, {20, 6}, {12, 4}, {12, 9}, {8, 4}, {20, 9}, {6, 3}, {24, 12}} {
		size := fmt.Sprintf(" to %dx%d", s[0], s[1])
		add("short lines"+size, "one\r\ntwo", "x", s)
		add("full screen"+size, six, "x", s)
		add("scrollback"+size, six+"\r\n7\r\n8\r\n9", "x", s)
		add("wrapped line"+size, wrapped, "x", s)
		add("wrapped lines and prompt"+size, wrapped+"\r\n"+wrapped+"\r\n$ ", "x", s)
		add("wide"+size, "日本語日本語日本語\r\n$ ", "x", s)
		add("styles"+size, "\x1b[31mred text that wraps\x1b[m plain\r\n$ ", "x", s)
		add("cursor in the middle"+size, six+"\x1b[3;2H", "x", s)
		add("alternate"+size, "main\x1b[?1049h"+six+"\x1b[3;2H", "x", s)
		add("alternate and back"+size, wrapped+"\r\n$ \x1b[?1049h"+six, "\x1b[?1049lx", s)
		add("region"+size, six+"\x1b[2;4r", "\x1b[99;1Hx\ny", s)
	}
	add("there and back", wrapped+"\r\n$ ", "x", [2]int{7, 6}, [2]int{12, 6})
	add("there and back with scrollback", six+"\r\n"+wrapped+"\r\n$ ", "x", [2]int{5, 6}, [2]int{12, 6})
	return out
}

const resizeGolden = "testdata/resize.golden.gz"

// TestOracleResize asks the oracles about resizes.
func TestOracleResize(t *testing.T) {
	tmux, xterm := openOracles(t)
	all := map[string]golden{}
	for _, c := range resizeCases() {
		all[c.name] = ask(t, tmux, xterm, recording{c.name, 12, 6, nil}, c.steps()...)
	}
	checkGolden(t, resizeGolden, all)
}

// TestResize compares what is on the screen after a resize with what tmux and
// xterm.js have there, where they agree. They often do not: tmux scrolls text
// away with blank rows below it, xterm.js cuts the cursor's line.
func TestResize(t *testing.T) {
	var all map[string]golden
	readGolden(t, resizeGolden, &all)
	agreed := 0
	for _, c := range resizeCases() {
		t.Run(c.name, func(t *testing.T) {
			g, ok := all[c.name]
			if !ok {
				t.Fatal("not in the golden file: run with -update")
			}
			term := New(12, 6, Options{})
			for _, s := range c.steps() {
				if s.data != nil {
					term.Write(s.data)
				} else {
					term.Resize(s.cols, s.rows)
				}
				checkInvariants(t, term)
			}
			if screenOf(g.Tmux) == screenOf(g.Xterm) {
				agreed++
				for _, d := range disagreement(observe(term), g.Tmux, g.Xterm) {
					t.Errorf("%s\nboth:\n%s\nours:\n%s", d, screenOf(g.Tmux), screenOf(observe(term)))
				}
			}
			if d := cmp.Diff(dump(term), dump(restored(term))); d != "" {
				t.Errorf("snapshot (-want +got):\n%s", d)
			}
		})
	}
	if n := len(resizeCases()); agreed < n/2 {
		t.Errorf("the oracles agree about %d of %d cases only", agreed, n)
	}
}

func screenOf(s seen) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  scrollback %q cursor %d,%d\n", s.Scrollback, s.X, s.Y)
	for y, r := range s.Rows {
		mark := "|"
		if s.Wrapped[y] {
			mark = "\\"
		}
		text := ""
		for _, c := range r {
			text += c.Text
		}
		fmt.Fprintf(&b, "  |%s%s\n", text, mark)
	}
	return b.String()
}

// TestResizeKeepsText: whatever the widths in between, no text is lost and
// lines stay whole.
func TestResizeKeepsText(t *testing.T) {
	line := func(i int) string {
		return strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d-日本x ", i), 1+i%13))
	}
	term := New(80, 24, Options{})
	var want []string
	for i := range 200 {
		want = append(want, line(i))
		term.Write([]byte(line(i) + "\r\n"))
	}
	for _, s := range [][2]int{{40, 24}, {7, 10}, {200, 50}, {3, 3}, {80, 24}, {120, 40}, {80, 24}} {
		term.Resize(s[0], s[1])
		checkInvariants(t, term)
		if d := cmp.Diff(want, logicalLines(term)); d != "" {
			t.Fatalf("after %v (-want +got):\n%s", s, d)
		}
		if d := cmp.Diff(dump(term), dump(restored(term))); d != "" {
			t.Fatalf("snapshot at %v (-want +got):\n%s", s, d)
		}
	}
}

// logicalLines are all lines with wrapped rows joined, without blank ones at
// the end.
func logicalLines(t *Terminal) []string {
	var out []string
	var line []byte
	take := func(text []byte, wrapped bool) {
		if line = text; !wrapped {
			out = append(out, string(line))
			line = nil
		}
	}
	n, _ := t.ScrollbackLen()
	for i := range n {
		take(t.AppendScrollback(line, i))
	}
	for y := range t.rows {
		take(t.AppendLine(line, y))
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// TestResizeBehindAlternate: the main screen keeps its text while a program
// without a saved cursor is resized on the alternate one.
func TestResizeBehindAlternate(t *testing.T) {
	for _, mode := range []string{"47", "1047", "1049"} {
		term := New(12, 6, Options{})
		term.Write([]byte("\x1b71\r\n2\r\n3\r\n4\r\n5\r\n6\x1b[?" + mode + "h\x1b[H"))
		for _, s := range [][2]int{{12, 3}, {5, 2}, {30, 10}} {
			term.Resize(s[0], s[1])
			checkInvariants(t, term)
		}
		term.Write([]byte("\x1b[?" + mode + "l"))
		if d := cmp.Diff([]string{"1", "2", "3", "4", "5", "6"}, logicalLines(term)); d != "" {
			t.Errorf("mode %s (-want +got):\n%s", mode, d)
		}
	}
}
