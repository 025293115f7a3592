package vt

import (
	"fmt"
	"strings"
)

// dump writes down the whole state of t, one fact a line, so that two
// terminals can be compared and a difference be read.
func dump(t *Terminal) string {
	var b strings.Builder
	f := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	f("size %dx%d alt %v(%d)", t.cols, t.rows, t.AltScreen(), t.altMode)
	f("cursor %d,%d pending %v", t.x, t.y, t.pending)
	f("pen %s", dumpStyle(t, t.pen))
	f("link %q", t.link)
	f("margins %d-%d %d-%d", t.top, t.bottom, t.left, t.right)
	f("modes %x saved %x mouse %d,%d saved %d,%d", t.modes, t.savedModes, t.mouse, t.mouseEnc, t.savedMouse, t.savedMouseEnc)
	f("charsets %q gl %d single %d", t.charsets.g, t.charsets.gl, t.charsets.single)
	f("tabs %v", t.tabs)
	f("style %d keys %v", t.cursorStyle, t.modifyKeys)
	for _, c := range t.penStack {
		c.ext = 0
		f("pushed %s", dumpStyle(t, c))
	}
	f("titles %q %q %q", t.icon, t.title, t.titleStack)
	f("colors %v %v", t.colors.palette, t.colors.dynamic)
	dumpScreen(t, &t.main, "main", f)
	dumpScreen(t, &t.alt, "alt", f)
	dumpHistory(t, f)
	return b.String()
}

func dumpStyle(t *Terminal, c cell) string {
	e := t.exts.get(c.ext)
	s := string(appendSGR(nil, c, e.underline))
	if e.link != (link{}) {
		s += fmt.Sprintf(" link=%q", e.link)
	}
	if p := c.attr & (attrAnyProtected | attrRole); p != 0 {
		s += fmt.Sprintf(" role=%x", uint16(p))
	}
	return s
}

func dumpScreen(t *Terminal, s *screen, name string, f func(string, ...any)) {
	f("%s kitty %v", name, s.kitty.flags[:s.kitty.n])
	f("%s kitty base %d", name, s.kitty.base)
	c := s.saved
	if c.set {
		f("%s saved %d,%d origin %v charsets %q %d pen %s", name, c.x, c.y, c.origin, c.charsets.g, c.charsets.gl, dumpStyle(t, c.pen))
	}
	for y := range s.rows {
		if s.ring == nil {
			break
		}
		r := s.row(y)
		shown := *r
		shown.wrapped = r.wrapped && y < s.rows-1
		dumpRow(t, fmt.Sprintf("%s %d", name, y), &shown, &t.clusters, f)
	}
}

func dumpRow(t *Terminal, name string, r *row, cl *clusterTable, f func(string, ...any)) {
	cells, n, wrapped, size := r.cells, r.trimmed(), r.wrapped, r.size
	if n == 0 && !wrapped && size == lineSingle {
		return
	}
	var b strings.Builder
	style := ""
	for n > 0 && wrapped && cells[n-1].ch == 0 && cells[n-1].bg == 0 && cells[n-1].attr&attrTail == 0 {
		n-- // painted as a blank where terminals may differ about the wide character after it
	}
	for _, c := range cells[:n] {
		if s := dumpStyle(t, c); s != style {
			fmt.Fprintf(&b, "{%s}", s)
			style = s
		}
		switch {
		case c.attr&attrTail != 0:
		case c.ch == 0:
			b.WriteString("\u2591")
		default:
			b.Write(cl.appendText(nil, c.ch))
		}
	}
	f("%s %q wrapped %v size %d", name, b.String(), wrapped, size)
}

func dumpHistory(t *Terminal, f func(string, ...any)) {
	var cl clusterTable
	n := 0
	w := rewrapper{cols: t.cols, emit: func(r row) {
		dumpRow(t, fmt.Sprintf("history %d", n), &r, &cl, f)
		n++
	}}
	for i := range t.hist.n {
		rec := t.hist.at(i)
		w.size = rec.size
		w.add(rec.unpack(nil, &cl))
		if !rec.wrapped || i == t.hist.n-1 {
			w.end(rec.wrapped)
		}
	}
}

// restored is a fresh terminal that was given a snapshot of t.
func restored(t *Terminal) *Terminal {
	r := New(t.cols, t.rows, t.opts)
	r.Write(t.Snapshot(SnapshotOptions{}))
	r.Write(t.Pending())
	return r
}
