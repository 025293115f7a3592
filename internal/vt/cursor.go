package vt

// moveTo places the cursor, clamped to the screen, and drops a pending wrap.
func (t *Terminal) moveTo(x, y int) {
	t.x, t.y = min(max(x, 0), t.cols-1), min(max(y, 0), t.rows-1)
	t.pending = false
}

// position is CUP: x and y from 0, within the margins in origin mode.
func (t *Terminal) position(x, y int) {
	if t.modes.has(modeOrigin) {
		x, y = min(x+t.left, t.right), min(y+t.top, t.bottom)
	}
	t.moveTo(x, y)
}

func (t *Terminal) home() { t.position(0, 0) }

// column is CHA and HPA; line is VPA.
func (t *Terminal) column(x int) {
	if t.modes.has(modeOrigin) {
		x = min(x+t.left, t.right)
	}
	t.moveTo(x, t.y)
}

func (t *Terminal) line(y int) {
	if t.modes.has(modeOrigin) {
		y = min(y+t.top, t.bottom)
	}
	t.moveTo(t.x, y)
}

// up, down, forward stop at a margin if they begin inside it.
func (t *Terminal) up(n int) {
	limit := 0
	if t.y >= t.top {
		limit = t.top
	}
	t.moveTo(t.x, max(t.y-n, limit))
}

func (t *Terminal) down(n int) {
	limit := t.rows - 1
	if t.y <= t.bottom {
		limit = t.bottom
	}
	t.moveTo(t.x, min(t.y+n, limit))
}

func (t *Terminal) forward(n int) { t.moveTo(min(t.x+n, t.rightEdge()), t.y) }

// backward is CUB and BS. With reverse wrap it goes on at the end of the row
// above: always with mode 1045, with mode 45 only where that row wrapped.
func (t *Terminal) backward(n int) {
	n = min(n, t.cols*t.rows)
	wraps := t.modes.has(modeReverseWrap|modeReverseWrapExt) && t.modes.has(modeAutowrap)
	if wraps && t.pending {
		n-- // the column after the last one counts
	}
	for {
		limit := 0
		if t.x >= t.left {
			limit = t.left
		}
		step := min(n, t.x-limit)
		t.moveTo(t.x-step, t.y)
		if n -= step; n <= 0 || !wraps || !t.wrapBack() {
			return
		}
		n--
	}
}

// wrapBack moves the cursor to the end of the row above.
func (t *Terminal) wrapBack() bool {
	ext := t.modes.has(modeReverseWrapExt)
	switch {
	case t.y == t.top && ext:
		t.moveTo(t.right, t.bottom)
	case t.y == 0 || t.y == t.top || !ext && !t.cur.row(t.y-1).wrapped:
		return false
	default:
		t.moveTo(t.right, t.y-1)
	}
	return true
}

func (t *Terminal) carriageReturn() {
	x := 0
	if t.x >= t.left || t.modes.has(modeOrigin) {
		x = t.left
	}
	t.moveTo(x, t.y)
}

// index is IND: down, scrolling at the bottom margin.
func (t *Terminal) index() {
	t.pending = false
	switch {
	case t.y != t.bottom:
		if t.y < t.rows-1 {
			t.y++
		}
	case t.x >= t.left && t.x <= t.right:
		t.scrollUp(1)
	}
}

// lineFeed is LF, VT and FF.
func (t *Terminal) lineFeed() {
	if t.modes.has(modeNewline) {
		t.carriageReturn()
	}
	t.index()
}

// reverseIndex is RI.
func (t *Terminal) reverseIndex() {
	switch {
	case t.y != t.top:
		t.moveTo(t.x, t.y-1)
	case t.x >= t.left && t.x <= t.right:
		t.scrollDown(1)
	}
}

func defaultTabs(tabs []bool, from int) {
	for i := from; i < len(tabs); i++ {
		tabs[i] = i > 0 && i%8 == 0
	}
}

// tab is HT and CHT; a pending wrap stays pending.
func (t *Terminal) tab(n int) {
	if t.pending {
		return
	}
	edge := t.rightEdge()
	x := t.x
	for ; n > 0 && x < edge; n-- {
		for x++; x < edge && !t.tabs[x]; x++ {
		}
	}
	t.moveTo(x, t.y)
}

// backTab is CBT.
func (t *Terminal) backTab(n int) {
	x := t.x
	for ; n > 0 && x > 0; n-- {
		for x--; x > 0 && !t.tabs[x]; x-- {
		}
	}
	t.moveTo(x, t.y)
}

// clearTabs is TBC.
func (t *Terminal) clearTabs(how int) {
	switch how {
	case 0:
		t.tabs[t.x] = false
	case 3:
		clear(t.tabs)
	}
}

// setMargins is DECSTBM: rows from 1, 0 for the default.
func (t *Terminal) setMargins(top, bottom int) {
	if bottom == 0 || bottom > t.rows {
		bottom = t.rows
	}
	if top >= bottom {
		return
	}
	t.top, t.bottom = top-1, bottom-1
	t.home()
}

// setSideMargins is DECSLRM.
func (t *Terminal) setSideMargins(left, right int) {
	if right == 0 || right > t.cols {
		right = t.cols
	}
	if left >= right {
		return
	}
	t.left, t.right = left-1, right-1
	t.home()
}
