package vt

import "strconv"

// SnapshotOptions choose what a snapshot holds.
type SnapshotOptions struct {
	// NoScrollback leaves the scrollback out.
	NoScrollback bool
	// MaxScrollback is the most scrollback rows to include, the newest; 0 means
	// all.
	MaxScrollback int
}

// Snapshot returns the bytes that bring a freshly reset terminal of the same
// size into this terminal's state. Where Ground is false, send Pending after
// it: then whatever the program writes next goes on as it would have here.
// There is no clipboard request (OSC 52) and no question in a snapshot.
func (t *Terminal) Snapshot(o SnapshotOptions) []byte {
	p := &painter{t: t, clusters: &t.clusters}
	p.out = make([]byte, 0, 4096+t.snapshotHint(o))
	scrollback := t.hist.n
	switch {
	case o.NoScrollback:
		scrollback = 0
	case o.MaxScrollback > 0:
		scrollback = min(scrollback, o.MaxScrollback)
	}
	p.titles()
	p.palette()
	p.penStack()
	p.screens(scrollback)
	p.tabStops()
	p.modes()
	p.charsets(t.charsets)
	p.cursor()
	return p.out
}

func (t *Terminal) snapshotHint(o SnapshotOptions) int {
	if o.NoScrollback {
		return 0
	}
	return t.hist.bytes
}

// screens paints the main screen with its scrollback, then the alternate one
// if it is shown or has a saved cursor or keyboard flags.
func (p *painter) screens(scrollback int) {
	t := p.t
	if scrollback > 0 {
		p.paintScrolling(scrollback)
	} else {
		p.paintScreen(&t.main.grid)
	}
	p.kitty(&t.main.kitty)
	undo := p.savedCursor(&t.main)
	if t.AltScreen() {
		p.private(t.altMode, true)
		filled := p.style.bg != 0 // the screen is entered cleared in the saved pen's background
		undo()
		if filled {
			p.out = append(p.out, "\x1b[2J"...)
		}
		p.paintScreen(&t.alt.grid)
		p.kitty(&t.alt.kitty)
		p.savedCursor(&t.alt)()
		return
	}
	undo()
	if !t.alt.saved.set && t.alt.kitty == (kittyStack{}) {
		return
	}
	p.private(47, true)
	p.kitty(&t.alt.kitty)
	p.savedCursor(&t.alt)()
	p.private(47, false)
}

// paintScrolling prints the newest n rows of the scrollback and all rows of
// the main screen one after the other, so that the former scroll out.
func (p *painter) paintScrolling(n int) {
	t := p.t
	temporary := clusterTable{}
	var cells []cell
	w := rewrapper{cols: t.cols, emit: func(r row) { p.scrolledRow(r) }}
	p.clusters = &temporary
	for i := t.hist.n - n; i < t.hist.n; i++ {
		rec := t.hist.at(i)
		if len(w.line) == 0 && p.carry == carryNone && rec.isPlain(t.cols) {
			p.nextRow()
			p.pen(cell{})
			p.out = append(p.out, rec.data...)
			continue
		}
		cells = rec.unpack(cells[:0], &temporary)
		w.size = rec.size
		w.add(cells)
		if !rec.wrapped {
			w.end(false)
		}
		if temporary.full() && len(w.line) == 0 {
			temporary = clusterTable{}
		}
	}
	if t.hist.at(t.hist.n - 1).wrapped {
		first := t.main.row(0).cells[0]
		w.end(w.fits(first))
	}
	p.clusters = &t.clusters
	for y := range t.rows {
		p.scrolledRow(*t.main.row(y))
	}
	p.endRows()
}

func (p *painter) scrolledRow(r row) {
	if p.carry == carryNone {
		p.nextRow()
	}
	p.row(&r)
}

// nextRow begins a row that is no continuation, scrolling at the bottom.
func (p *painter) nextRow() {
	if p.painted {
		p.pen(cell{})
		p.out = append(p.out, '\r', '\n')
	}
	p.painted = true
}

// paintScreen paints a screen without scrolling.
func (p *painter) paintScreen(g *grid) {
	for y := range g.rows {
		r := g.row(y)
		if p.carry == carryNone {
			if r.trimmed() == 0 && !r.wrapped && r.size == lineSingle {
				continue
			}
			p.moveTo(0, y)
		}
		p.row(r)
	}
	p.endRows()
}

// endRows drops a wrap that leads nowhere: the last row's flag.
func (p *painter) endRows() {
	p.carry, p.fix, p.painted = carryNone, fix{}, false
	p.pen(cell{})
}

func (p *painter) csi(n int, final byte) {
	p.out = append(p.out, 0x1b, '[')
	if n != 1 {
		p.out = strconv.AppendInt(p.out, int64(n), 10)
	}
	p.out = append(p.out, final)
}

func (p *painter) private(mode int, on bool) {
	p.out = append(p.out, "\x1b[?"...)
	p.out = strconv.AppendInt(p.out, int64(mode), 10)
	p.out = append(p.out, map[bool]byte{true: 'h', false: 'l'}[on])
}

// moveTo is CUP, x and y from 0.
func (p *painter) moveTo(x, y int) {
	p.out = append(p.out, "\x1b["...)
	if y > 0 || x > 0 {
		p.out = strconv.AppendInt(p.out, int64(y+1), 10)
	}
	if x > 0 {
		p.out = append(p.out, ';')
		p.out = strconv.AppendInt(p.out, int64(x+1), 10)
	}
	p.out = append(p.out, 'H')
}
