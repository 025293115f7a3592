package vt

// rect is a rectangle of cells, [x0,x1) and [y0,y1).
type rect struct{ x0, y0, x1, y1 int }

// rectAt reads top, left, bottom and right (from 1) at parameter i. In origin
// mode they are relative to the margins.
func (t *Terminal) rectAt(i int) (rect, bool) {
	p := &t.parser.params
	area := rect{0, 0, t.cols, t.rows}
	if t.modes.has(modeOrigin) {
		area = rect{t.left, t.top, t.right + 1, t.bottom + 1}
	}
	r := rect{
		x0: area.x0 + p.get(i+1, 1) - 1,
		y0: area.y0 + p.get(i, 1) - 1,
		x1: min(area.x0+p.get(i+3, t.cols), area.x1),
		y1: min(area.y0+p.get(i+2, t.rows), area.y1),
	}
	return r, r.x0 < r.x1 && r.y0 < r.y1
}

// rectangle executes the VT420's rectangle operations: inter<<8 | final.
func (t *Terminal) rectangle(key int) {
	p := &t.parser.params
	at := 0
	if key == '$'<<8|'x' {
		at = 1
	}
	r, ok := t.rectAt(at)
	if !ok {
		return
	}
	switch key {
	case '$'<<8 | 'x': // DECFRA
		if ch := p.get(0, 0); ch >= 0x20 && ch < 0x7f || ch >= 0xa0 && ch <= 0xff {
			c := t.pen
			c.ch = uint32(ch)
			t.fillRect(r, c)
		}
	case '$'<<8 | 'z': // DECERA
		for y := r.y0; y < r.y1; y++ {
			t.eraseCells(y, r.x0, r.x1, eraseAll)
		}
	case '$'<<8 | '{': // DECSERA
		for y := r.y0; y < r.y1; y++ {
			t.eraseCells(y, r.x0, r.x1, eraseSelective)
		}
	case '$'<<8 | 'v': // DECCRA
		t.copyRect(r, p.get(6, 1)-1, p.get(5, 1)-1)
	case '$'<<8 | 'r': // DECCARA
		t.changeRect(r, false)
	case '$'<<8 | 't': // DECRARA
		t.changeRect(r, true)
	}
}

func (t *Terminal) fillRect(r rect, c cell) {
	for y := r.y0; y < r.y1; y++ {
		row := t.cur.row(y)
		row.split(r.x0, t.pen.blank())
		row.split(r.x1, t.pen.blank())
		row.fill(r.x0, r.x1, c)
	}
}

func (t *Terminal) copyRect(r rect, x, y int) {
	if t.modes.has(modeOrigin) {
		x, y = x+t.left, y+t.top
	}
	w, h := min(r.x1-r.x0, t.cols-x), min(r.y1-r.y0, t.rows-y)
	if w <= 0 || h <= 0 {
		return
	}
	buf := make([]cell, w*h)
	for i := range h {
		copy(buf[i*w:], t.cur.row(r.y0 + i).cells[r.x0:r.x0+w])
	}
	for i := range h {
		src := row{cells: buf[i*w : i*w+w]}
		src.mendEdges()
		dst := t.cur.row(y + i)
		dst.split(x, t.pen.blank())
		dst.split(x+w, t.pen.blank())
		copy(dst.cells[x:], src.cells)
		dst.used = max(dst.used, x+w)
	}
}

// mendEdges blanks the halves of wide characters that were cut off.
func (r *row) mendEdges() {
	if r.cells[0].attr&attrTail != 0 {
		r.cells[0] = r.cells[0].blank()
	}
	if last := &r.cells[len(r.cells)-1]; last.attr&attrWide != 0 {
		*last = last.blank()
	}
}

// changeRect is DECCARA (set or clear bold, underline, blink, inverse) and
// DECRARA (toggle them) in a rectangle.
func (t *Terminal) changeRect(r rect, toggle bool) {
	p := &t.parser.params
	for y := r.y0; y < r.y1; y++ {
		row := t.cur.row(y)
		for x := r.x0; x < r.x1; x++ {
			c := &row.cells[x]
			for i := 4; i < max(p.n, 5); i++ {
				changeAttr(&c.attr, p.get(i, 0), toggle)
			}
			if c.ch == 0 && c.attr != 0 && c.attr&attrTail == 0 {
				c.ch = ' ' // a blank has a background and nothing else
			}
		}
		row.used = max(row.used, r.x1)
	}
}

func changeAttr(a *attr, n int, toggle bool) {
	bits := map[int]attr{1: attrBold, 4: 1 << underlineShift, 5: attrBlink, 7: attrInverse}
	all := attrBold | attrUnderline | attrBlink | attrInverse
	switch b := bits[n%20]; {
	case toggle && n == 0:
		*a ^= attrBold | attrBlink | attrInverse | 1<<underlineShift
	case toggle:
		*a ^= b
	case n == 0:
		*a &^= all
	case n == 22:
		*a &^= attrBold
	case n == 24:
		*a &^= attrUnderline
	case n == 25, n == 27:
		*a &^= bits[n-20]
	case n < 10:
		*a |= b
	}
}
