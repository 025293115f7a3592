package vt

// eraseKind says which cells an erase spares.
type eraseKind int

const (
	eraseAll       eraseKind = iota // whole rows, protected or not
	eraseNormal                     // ED, EL, ECH: spares SPA/EPA protection
	eraseSelective                  // DECSED, DECSEL: spares DECSCA protection
)

func (k eraseKind) spares() attr {
	switch k {
	case eraseNormal:
		return attrISOProtected
	case eraseSelective:
		return attrProtected
	}
	return 0
}

// eraseCells blanks [x0,x1) of row y with the pen's background.
func (t *Terminal) eraseCells(y, x0, x1 int, k eraseKind) {
	r := t.cur.row(y)
	r.split(x0, t.pen.blank())
	r.split(x1, t.pen.blank())
	blank := t.pen.blank()
	spare := k.spares()
	if spare == 0 || !r.anyAttr(x0, x1, spare) {
		r.fill(x0, x1, blank)
		return
	}
	for x := x0; x < x1; x++ {
		if r.cells[x].attr&spare == 0 {
			r.fill(x, x+1, blank)
		}
	}
}

func (r *row) anyAttr(x0, x1 int, a attr) bool {
	for x := x0; x < min(x1, r.used); x++ {
		if r.cells[x].attr&a != 0 {
			return true
		}
	}
	return false
}

// eraseRows blanks rows [y0,y1), which stop being part of a wrapped line.
func (t *Terminal) eraseRows(y0, y1 int, k eraseKind) {
	for y := y0; y < y1; y++ {
		t.eraseCells(y, 0, t.cols, k)
		r := t.cur.row(y)
		r.wrapped = false
		r.size = lineSingle
	}
	if y1 > y0 {
		t.cutAbove(y0)
	}
}

// eraseLine is EL and DECSEL.
func (t *Terminal) eraseLine(how int, k eraseKind) {
	r := t.cur.row(t.y)
	switch how {
	case 0:
		if t.pending {
			return // nothing is right of the cursor: tmux and xterm.js agree
		}
		t.eraseCells(t.y, t.x, t.cols, k)
		if t.x == 0 {
			t.cutAbove(t.y)
		}
	case 1:
		t.eraseCells(t.y, 0, t.x+1, k)
	case 2:
		size := r.size
		t.eraseRows(t.y, t.y+1, k)
		r.size = size
	}
}

// eraseDisplay is ED and DECSED.
func (t *Terminal) eraseDisplay(how int, k eraseKind) {
	switch how {
	case 0:
		t.eraseLine(0, k)
		if t.y+1 < t.rows {
			wrapped := t.cur.row(t.y).wrapped
			t.eraseRows(t.y+1, t.rows, k)
			t.cur.row(t.y).wrapped = wrapped && t.pending
		}
	case 1:
		t.eraseRows(0, t.y, k)
		t.eraseLine(1, k)
	case 2:
		t.eraseRows(0, t.rows, k)
	case 3:
		if k == eraseNormal {
			t.hist.clear()
		}
	}
}

// eraseChars is ECH.
func (t *Terminal) eraseChars(n int) {
	t.pending = false
	t.eraseCells(t.y, t.x, t.x+min(n, t.cols-t.x), eraseNormal)
}

// alignmentTest is DECALN.
func (t *Terminal) alignmentTest() {
	t.resetMargins()
	t.modes.set(modeOrigin, false)
	t.cutAbove(0)
	for y := range t.rows {
		r := t.cur.row(y)
		r.reset()
		r.fill(0, t.cols, cell{ch: 'E'})
	}
	t.moveTo(0, 0)
}
