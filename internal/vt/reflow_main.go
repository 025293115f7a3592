package vt

// resizeMain resizes the main screen: first its height, then its width. Both
// tmux and xterm.js do it in this order. It returns where the cursor went.
func (t *Terminal) resizeMain(cols, rows int, cursor point) point {
	lines := t.mainRows()
	lines, cursor = t.fitHeight(lines, rows, cursor)
	if cols != t.cols {
		lines, cursor = t.rewrap(lines, cols, rows, cursor)
	}
	t.main.grid = newGrid(cols, rows)
	for y := range lines {
		t.main.row(y).copyFrom(&lines[y])
	}
	if n := len(lines); n > 0 {
		t.main.row(n - 1).wrapped = false
	}
	return cursor
}

// mainRows is the main screen's rows from top to bottom.
func (t *Terminal) mainRows() []row {
	lines := make([]row, t.rows)
	for y := range lines {
		lines[y] = *t.main.row(y)
	}
	return lines
}

// fitHeight makes lines as many as rows. To be fewer, rows below the cursor
// go, then the top ones into the scrollback. To be more, rows come back from
// the scrollback if the cursor is in the last row, else blank ones are added.
func (t *Terminal) fitHeight(lines []row, rows int, cursor point) ([]row, point) {
	n := len(lines)
	if rows < n {
		below := min(n-rows, n-1-cursor.y)
		lines = lines[:n-below]
		for range len(lines) - rows {
			t.hist.push(&lines[0], &t.clusters)
			lines = lines[1:]
			t.shiftSaved(-1)
			cursor.y--
		}
		return lines, cursor
	}
	if cursor.y == n-1 {
		back := t.takeBack(rows-n, t.cols)
		lines = append(back, lines...)
		cursor.y += len(back)
		t.shiftSaved(len(back))
	}
	for len(lines) < rows {
		lines = append(lines, row{cells: make([]cell, t.cols)})
	}
	return lines, cursor
}

func (t *Terminal) shiftSaved(n int) {
	t.main.saved.y = max(t.main.saved.y+n, 0)
}

// takeBack removes up to n rows of the given width from the scrollback's end.
// A line that was wrapped comes back as a whole, and the rows of it that are
// too many go in again.
func (t *Terminal) takeBack(n, cols int) []row {
	var out []row
	for len(out) < n && t.hist.n > 0 {
		line := t.popLine(nil, cols)
		out = append(line, out...)
	}
	for len(out) > n {
		t.hist.push(&out[0], &t.clusters)
		out = out[1:]
	}
	return out
}

// maxLineRecords bounds how much of one line Resize wraps anew.
const maxLineRecords = 1000

// popLine takes the scrollback's last logical line, followed by tail, in rows
// of the given width.
func (t *Terminal) popLine(tail []cell, cols int) []row {
	var recs []record
	for t.hist.n > 0 && len(recs) < maxLineRecords {
		if len(recs) > 0 && !t.hist.at(t.hist.n-1).wrapped {
			break
		}
		recs = append(recs, t.hist.pop())
	}
	var out []row
	w := rewrapper{cols: cols, emit: func(r row) { out = append(out, r.clone()) }}
	for i := len(recs) - 1; i >= 0; i-- {
		w.size = recs[i].size
		w.add(recs[i].unpack(nil, &t.clusters))
	}
	w.add(tail)
	w.end(len(recs) > 0 && recs[0].wrapped)
	return out
}

func (r row) clone() row {
	r.cells = append([]cell(nil), r.cells...)
	return r
}

// rewrap lays the lines out in a new width. Rows that are now too many go into
// the scrollback, after blank ones at the bottom went; where rows are missing
// they come back from it.
func (t *Terminal) rewrap(lines []row, cols, rows int, cursor point) ([]row, point) {
	l := layout{cols: cols, marks: []point{cursor, {t.main.saved.x, t.main.saved.y}}}
	l.run(lines, t.popStraddling())
	out, marks := l.out, l.moved
	for len(out) > rows && len(out)-1 > marks[0].y && out[len(out)-1].isBlank() {
		out = out[:len(out)-1]
	}
	shift := 0
	for len(out) > rows {
		t.hist.push(&out[0], &t.clusters)
		out = out[1:]
		shift--
	}
	if missing := rows - len(out); missing > 0 {
		back := t.takeBack(missing, cols)
		out = append(back, out...)
		shift += len(back)
	}
	for len(out) < rows {
		out = append(out, row{cells: make([]cell, cols)})
	}
	s := &t.main.saved
	s.x, s.y = min(marks[1].x, cols-1), max(marks[1].y+shift, 0)
	return out, point{marks[0].x, max(marks[0].y+shift, 0)}
}

func (r *row) isBlank() bool { return r.trimmed() == 0 && !r.wrapped }

// popStraddling takes the beginning of the screen's first line out of the
// scrollback, if it is there.
func (t *Terminal) popStraddling() []cell {
	var recs []record
	for t.hist.n > 0 && len(recs) < maxLineRecords && t.hist.at(t.hist.n-1).wrapped {
		recs = append(recs, t.hist.pop())
	}
	var cells []cell
	for i := len(recs) - 1; i >= 0; i-- {
		row := recs[i].unpack(nil, &t.clusters)
		cells = append(dropRoom(cells, row), row...)
	}
	return cells
}

// layout wraps rows anew and follows positions in them.
type layout struct {
	cols  int
	marks []point // in the old rows
	out   []row
	moved []point // where the marks are in out
}

func (l *layout) run(lines []row, head []cell) {
	l.moved = make([]point, len(l.marks))
	for i := range l.moved {
		l.moved[i] = point{l.marks[i].x, -1}
	}
	for y := 0; y < len(lines); {
		end := y + 1
		for end < len(lines) && lines[end-1].wrapped {
			end++
		}
		l.line(lines[y:end], y, head)
		head = nil
		y = end
	}
	for i, m := range l.moved {
		if m.y < 0 {
			l.moved[i].y = l.marks[i].y + len(l.out) - len(lines)
		}
	}
}

// line wraps the rows of one logical line, of which the first is row y of the
// old screen and head comes before it.
func (l *layout) line(rows []row, y int, head []cell) {
	cells := head
	offsets := make([]int, len(l.marks))
	for i := range offsets {
		offsets[i] = -1
	}
	for k := range rows {
		r := &rows[k]
		n := r.trimmed()
		if r.wrapped {
			n = len(r.cells)
		}
		cells = dropRoom(cells, r.cells[:n])
		for i, m := range l.marks {
			if m.y == y+k {
				offsets[i] = len(cells) + m.x
			}
		}
		cells = append(cells, r.cells[:n]...)
	}
	first := len(l.out)
	w := rewrapper{cols: l.cols, size: rows[0].size, emit: func(r row) { l.out = append(l.out, r.clone()) }}
	w.add(cells)
	w.end(false)
	for i, off := range offsets {
		if off >= 0 {
			l.moved[i] = locate(l.out[first:], off, first)
		}
	}
}

// locate finds the cell of a line that is off cells from its beginning.
func locate(rows []row, off, first int) point {
	for k := range rows {
		n := len(rows[k].cells)
		if k+1 < len(rows) && isRoom(rows[k].cells[n-1], rows[k+1].cells[0]) {
			n--
		}
		if off < n || k == len(rows)-1 {
			return point{off, first + k} // may be the column after the last one
		}
		off -= n
	}
	return point{0, first}
}
