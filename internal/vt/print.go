package vt

import "unicode/utf8"

// printASCII writes bytes 0x20-0x7e.
func (t *Terminal) printASCII(b []byte) {
	if t.charsets.translates() || t.modes.has(modeInsert) {
		for _, c := range b {
			t.print(rune(c))
		}
		return
	}
	for len(b) > 0 {
		if t.pending {
			t.wrap()
		}
		edge := t.rightEdge()
		n := min(len(b), edge+1-t.x)
		r := t.cur.row(t.y)
		r.split(t.x, t.pen.blank())
		r.split(t.x+n, t.pen.blank())
		cells := r.cells[t.x : t.x+n]
		c := t.pen
		for i, ch := range b[:n] { // field by field: a copied cell would wait for its ch
			p := &cells[i]
			p.ch, p.attr, p.ext, p.fg, p.bg = uint32(ch), c.attr, c.ext, c.fg, c.bg
		}
		c.ch = uint32(b[n-1])
		t.x += n
		r.used = max(r.used, t.x)
		t.last = lastChar{valid: true, x: t.x - 1, y: t.y, cell: c}
		if t.x > edge {
			t.x, t.pending = edge, true
		}
		b = b[n:]
	}
}

// print writes one character.
func (t *Terminal) print(r rune) {
	if r < utf8.RuneSelf {
		r = t.charsets.translate(byte(r))
	}
	w := 1
	if r >= 0x300 || r == 0xad {
		if t.modes.has(modeGraphemes) && t.joinCluster(r) {
			return
		}
		if w = runeWidth(r); w == 0 {
			t.combine(r)
			return
		}
	}
	t.put(uint32(r), w)
}

// rightEdge is the last column that the cursor can print in.
func (t *Terminal) rightEdge() int {
	if t.x > t.right {
		return t.cols - 1
	}
	return t.right
}

// put writes a character of one or two columns at the cursor.
func (t *Terminal) put(ch uint32, w int) {
	if t.pending {
		t.wrap()
	}
	edge := t.rightEdge()
	if w == 2 && t.x >= edge {
		if !t.modes.has(modeAutowrap) || t.wrapEdge() < 1 {
			t.last.valid = false
			return
		}
		r := t.cur.row(t.y)
		r.split(t.x, t.pen.blank())
		r.split(t.x+1, t.pen.blank())
		r.fill(t.x, t.x+1, t.pen.blank())
		t.pending = true
		t.wrap()
		edge = t.rightEdge()
	}
	if t.modes.has(modeInsert) {
		t.insertCells(w)
	}
	r := t.cur.row(t.y)
	r.split(t.x, t.pen.blank())
	r.split(t.x+w, t.pen.blank())
	c := t.pen
	c.ch = ch
	if w == 2 {
		c.attr |= attrWide
		tail := t.pen
		tail.attr |= attrTail
		r.cells[t.x+1] = tail
	}
	r.cells[t.x] = c
	t.last = lastChar{valid: true, x: t.x, y: t.y, cell: c}
	t.x += w
	r.used = max(r.used, t.x)
	if t.x > edge {
		t.x, t.pending = edge, true
	}
}

// wrapEdge is how far right of the line's beginning a wrapped character may go.
func (t *Terminal) wrapEdge() int {
	if t.x > t.right || t.x < t.left {
		return t.cols - 1
	}
	return t.right - t.left
}

// wrap carries out a pending wrap, if autowrap is on.
func (t *Terminal) wrap() {
	t.pending = false
	if !t.modes.has(modeAutowrap) {
		return
	}
	scrolls := t.y == t.bottom
	if t.fullWidth() && (scrolls || t.y < t.rows-1) {
		t.cur.row(t.y).wrapped = true
	}
	t.carriageReturn()
	t.index()
	if t.fullWidth() && scrolls && t.y > 0 {
		t.cur.row(t.y - 1).wrapped = true // scrolling a region took it for cut off
	}
}

// combine joins a zero-width character to the one before the cursor.
func (t *Terminal) combine(r rune) {
	x, y := t.x, t.y
	if t.last.valid {
		x, y = t.last.x, t.last.y
	} else if !t.pending {
		if x--; x < 0 {
			return
		}
	}
	row := t.cur.row(y)
	if row.cells[x].attr&attrTail != 0 && x > 0 {
		x--
	}
	t.extend(&row.cells[x], r)
}

// extend appends r to the text of c, and reports whether it could.
func (t *Terminal) extend(c *cell, r rune) bool {
	if c.ch == 0 {
		return false
	}
	s := t.scratch[:0]
	s = t.appendText(s, *c)
	s = utf8.AppendRune(s, r)
	t.scratch = s
	if utf8.RuneCount(s) > maxClusterRunes {
		return false
	}
	ch, ok := t.intern(string(s))
	if !ok {
		return false
	}
	c.ch = ch
	if t.last.valid {
		t.last.cell = *c
	}
	return true
}

// joinCluster appends r to the character just printed if both are one grapheme
// cluster (mode 2027), and widens it where r makes it wide.
func (t *Terminal) joinCluster(r rune) bool {
	if !t.last.valid {
		return false
	}
	x, y := t.last.x, t.last.y
	row := t.cur.row(y)
	c := &row.cells[x]
	if c.ch == 0 {
		return false
	}
	t.scratch = t.appendText(t.scratch[:0], *c)
	t.scratch = utf8.AppendRune(t.scratch, r)
	w, one := clusterWidth(t.scratch)
	if !one || !t.extend(c, r) {
		return one
	}
	if w == 2 && c.attr&attrWide == 0 && !t.pending && t.x <= t.rightEdge() {
		row.split(t.x+1, t.pen.blank())
		c.attr |= attrWide
		tail := c.styleOf()
		tail.attr |= attrTail
		row.cells[t.x] = tail
		t.x++
		row.used = max(row.used, t.x)
		if edge := t.rightEdge(); t.x > edge || t.x >= t.cols {
			t.x, t.pending = min(edge, t.cols-1), true
		}
		t.last.cell = *c
	}
	return true
}

// repeat is REP: the last character again, at most a screenful. A second REP
// has nothing to repeat.
func (t *Terminal) repeat(n int) {
	l := t.last
	if !l.valid {
		return
	}
	n = min(n, t.cols*t.rows)
	switch {
	case l.cell.attr&attrWide != 0:
		for range n {
			t.put(l.cell.ch, 2)
		}
	case t.modes.has(modeInsert):
		for range n {
			t.put(l.cell.ch, 1)
		}
	default:
		t.repeatNarrow(l.cell.ch, n)
	}
	t.last.valid = false
}

// repeatNarrow writes n times a character of one column.
func (t *Terminal) repeatNarrow(ch uint32, n int) {
	c := t.pen
	c.ch = ch
	for n > 0 {
		if t.pending {
			t.wrap()
		}
		edge := t.rightEdge()
		k := min(n, edge+1-t.x)
		r := t.cur.row(t.y)
		r.split(t.x, t.pen.blank())
		r.split(t.x+k, t.pen.blank())
		r.fill(t.x, t.x+k, c)
		t.x += k
		if t.x > edge {
			t.x, t.pending = edge, true
		}
		n -= k
	}
}
