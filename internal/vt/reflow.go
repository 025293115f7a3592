package vt

// rewrapper lays out the cells of logical lines in rows of a width. A blank at
// the end of a row whose line goes on with a wide character is taken for room
// that this character did not fit in, and made anew where it is needed.
type rewrapper struct {
	cols int
	size lineSize
	line []cell
	emit func(row) // the row's cells are only valid during the call
}

// fits reports whether c, coming next, would begin a new row.
func (w *rewrapper) fits(c cell) bool {
	return len(w.line) == w.cols || len(w.line) == w.cols-1 && c.attr&attrWide != 0
}

// add appends the cells of a row to the current line.
func (w *rewrapper) add(cells []cell) {
	w.line = dropRoom(w.line, cells)
	for i := 0; i < len(cells); i++ {
		c := cells[i]
		switch {
		case c.attr&attrWide != 0 && w.cols < 2:
			i++ // it has no room at all
			continue
		case w.fits(c):
			w.flush(true)
		}
		w.line = append(w.line, c)
	}
}

// isRoom reports whether c, at the end of a row that is wrapped, is blank only
// because next did not fit.
func isRoom(c, next cell) bool {
	return c == (cell{}) && next.attr&attrWide != 0
}

// dropRoom is line without such a blank at its end, if next goes on with it.
func dropRoom(line, next []cell) []cell {
	if n := len(line); n > 0 && len(next) > 0 && isRoom(line[n-1], next[0]) {
		return line[:n-1]
	}
	return line
}

// end ends the line; wrapped if it goes on in a row that somebody else paints.
func (w *rewrapper) end(wrapped bool) {
	w.flush(wrapped)
	w.size = lineSingle
}

func (w *rewrapper) flush(wrapped bool) {
	used := len(w.line)
	for len(w.line) < w.cols {
		w.line = append(w.line, cell{})
	}
	w.emit(row{cells: w.line, used: used, wrapped: wrapped, size: w.size})
	w.line = w.line[:0]
}

// Resize changes the size. The main screen's lines are wrapped anew, and rows
// go to and come from its scrollback; the alternate screen is cut or padded.
func (t *Terminal) Resize(cols, rows int) {
	cols, rows = clampSize(cols, rows)
	if cols == t.cols && rows == t.rows {
		return
	}
	t.last.valid = false
	onMain := t.cur == &t.main
	cursor := t.resizeMain(cols, rows, t.mainCursor())
	shift := 0
	if t.alt.ring != nil {
		shift = t.alt.cut(cols, rows, t.y)
	}
	tabs := make([]bool, cols)
	copy(tabs, t.tabs)
	defaultTabs(tabs, len(t.tabs))
	t.cols, t.rows, t.tabs = cols, rows, tabs
	t.resetMargins()
	t.alt.cols, t.alt.rows = cols, rows
	for _, c := range []*savedCursor{&t.main.saved, &t.alt.saved} {
		c.x, c.y = min(c.x, cols-1), min(c.y, rows-1)
	}
	if !onMain {
		cursor = point{t.x, t.y - shift}
	}
	t.moveTo(cursor.x, cursor.y)
	t.pending = onMain && cursor.x >= cols && t.cur.row(t.y).trimmed() == cols
	t.reportResize()
}

// point is a position on a screen. In a resize x may be the column after the
// last one, where the cursor is while a wrap is pending.
type point struct{ x, y int }

// mainCursor is the main screen's cursor. While the alternate screen is shown
// it is the one that mode 1049 saved; modes 47 and 1047 leave none, so that is
// the end of the text.
func (t *Terminal) mainCursor() point {
	switch {
	case t.altMode == 1049:
		return point{t.main.saved.x, t.main.saved.y}
	case t.AltScreen():
		y := t.rows - 1
		for y > 0 && t.main.row(y).isBlank() {
			y--
		}
		return point{0, y}
	case t.pending:
		return point{t.x + 1, t.y}
	}
	return point{t.x, t.y}
}

// cut makes a grid without scrollback cols by rows: rows below the cursor go
// first, then rows at the top. It returns how many of those.
func (g *grid) cut(cols, rows, cursorY int) (top int) {
	if g.rows > rows {
		top = max(0, cursorY+1-rows)
	}
	old := *g
	*g = newGrid(cols, rows)
	for y := range min(rows, old.rows-top) {
		g.row(y).copyFrom(old.row(y + top))
	}
	return top
}

// copyFrom copies what fits; a wide character that is cut in half is blanked.
func (r *row) copyFrom(src *row) {
	n := min(len(r.cells), src.used)
	copy(r.cells, src.cells[:n])
	if n > 0 && n < len(src.cells) && src.cells[n].attr&attrTail != 0 {
		r.cells[n-1] = r.cells[n-1].blank()
	}
	r.used, r.wrapped, r.size = n, src.wrapped && len(r.cells) == len(src.cells), src.size
}
