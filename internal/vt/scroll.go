package vt

// fullWidth reports whether scrolling moves whole rows.
func (t *Terminal) fullWidth() bool { return t.left == 0 && t.right == t.cols-1 }

// scrollUp moves the text between the margins up by n rows. What leaves the
// top row of the main screen goes to the scrollback.
func (t *Terminal) scrollUp(n int) {
	keep := t.cur == &t.main && t.top == 0 && t.fullWidth()
	t.shiftUp(t.top, min(n, t.bottom-t.top+1), keep)
}

func (t *Terminal) scrollDown(n int) {
	t.shiftDown(t.top, min(n, t.bottom-t.top+1))
}

// insertLines is IL, deleteLines DL: only with the cursor inside the margins.
func (t *Terminal) insertLines(n int) {
	if t.insideMargins() {
		t.shiftDown(t.y, min(n, t.bottom-t.y+1))
		t.moveTo(t.left, t.y)
	}
}

func (t *Terminal) deleteLines(n int) {
	if t.insideMargins() {
		t.shiftUp(t.y, min(n, t.bottom-t.y+1), false)
		t.moveTo(t.left, t.y)
	}
}

func (t *Terminal) insideMargins() bool {
	return t.y >= t.top && t.y <= t.bottom && t.x >= t.left && t.x <= t.right
}

// shiftUp moves rows (top, bottom margin] up by n; keep puts the rows that go
// into the scrollback.
func (t *Terminal) shiftUp(top, n int, keep bool) {
	if !t.fullWidth() {
		for y := top; y <= t.bottom; y++ {
			t.moveSpan(y, y+n)
		}
		return
	}
	if !keep {
		t.cutAbove(top)
	}
	if t.bottom < t.rows-1 {
		t.cur.row(t.bottom).wrapped = false
	}
	blank := t.pen.blank()
	for range n {
		if keep {
			t.hist.push(t.cur.row(0), &t.clusters)
		}
		r := t.cur.rotateUp(top, t.bottom)
		if blank.bg != 0 {
			r.fill(0, t.cols, blank)
		}
	}
}

// cutAbove makes row y no continuation of what is above it.
func (t *Terminal) cutAbove(y int) {
	if y > 0 {
		t.cur.row(y - 1).wrapped = false
	} else if t.cur == &t.main {
		t.hist.cut()
	}
}

func (t *Terminal) shiftDown(top, n int) {
	if !t.fullWidth() {
		for y := t.bottom; y >= top; y-- {
			t.moveSpan(y, y-n)
		}
		return
	}
	t.cutAbove(top)
	blank := t.pen.blank()
	for range n {
		r := t.cur.rotateDown(top, t.bottom)
		if blank.bg != 0 {
			r.fill(0, t.cols, blank)
		}
	}
	t.cur.row(t.bottom).wrapped = false
}

// moveSpan copies what is between the side margins of row from to row y, or
// blanks it where from is outside the margins.
func (t *Terminal) moveSpan(y, from int) {
	dst := t.cur.row(y)
	dst.split(t.left, t.pen.blank())
	dst.split(t.right+1, t.pen.blank())
	if from < t.top || from > t.bottom {
		dst.fill(t.left, t.right+1, t.pen.blank())
		return
	}
	src := t.cur.row(from)
	src.split(t.left, t.pen.blank())
	src.split(t.right+1, t.pen.blank())
	copy(dst.cells[t.left:t.right+1], src.cells[t.left:t.right+1])
	if src.used > t.left {
		dst.used = max(dst.used, min(src.used, t.right+1))
	}
}

// insertCells is ICH at the cursor, deleteCells DCH.
func (t *Terminal) insertCells(n int) {
	t.insertAt(t.x, t.y, n)
}

func (t *Terminal) insertAt(x, y, n int) {
	if x < t.left || x > t.right {
		return
	}
	n = min(n, t.right+1-x)
	r := t.cur.row(y)
	r.split(x, t.pen.blank())
	r.split(t.right+1-n, t.pen.blank())
	r.split(t.right+1, t.pen.blank())
	copy(r.cells[x+n:t.right+1], r.cells[x:t.right+1-n])
	r.used = min(max(r.used+n, x+n), t.cols)
	r.fill(x, x+n, t.pen.blank())
}

func (t *Terminal) deleteAt(x, y, n int) {
	if x < t.left || x > t.right {
		return
	}
	n = min(n, t.right+1-x)
	r := t.cur.row(y)
	r.split(x, t.pen.blank())
	r.split(x+n, t.pen.blank())
	r.split(t.right+1, t.pen.blank())
	copy(r.cells[x:t.right+1-n], r.cells[x+n:t.right+1])
	r.fill(t.right+1-n, t.right+1, t.pen.blank())
}

// shiftColumns inserts (n > 0) or deletes columns at x in every row between
// the margins: DECIC, DECDC, SL and SR.
func (t *Terminal) shiftColumns(x, n int) {
	for y := t.top; y <= t.bottom; y++ {
		if n > 0 {
			t.insertAt(x, y, n)
		} else {
			t.deleteAt(x, y, -n)
		}
	}
}
