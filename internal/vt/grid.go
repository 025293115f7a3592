package vt

// lineSize is a row's DECDWL/DECDHL attribute.
type lineSize uint8

const (
	lineSingle       lineSize = iota
	lineDouble                // ESC # 6
	lineDoubleTop             // ESC # 3
	lineDoubleBottom          // ESC # 4
)

// row is one line of a grid. Cells at and after used are all blank.
type row struct {
	cells   []cell
	used    int
	wrapped bool // its text goes on in the next row
	size    lineSize
}

// reset blanks the row.
func (r *row) reset() {
	clear(r.cells[:r.used])
	r.used, r.wrapped, r.size = 0, false, lineSingle
}

// fill sets cells [x0,x1) to c.
func (r *row) fill(x0, x1 int, c cell) {
	if c == (cell{}) {
		x1 = min(x1, max(r.used, x0))
		clear(r.cells[x0:x1])
		if x1 >= r.used {
			r.used = min(r.used, x0)
		}
		return
	}
	for x := x0; x < x1; x++ {
		r.cells[x] = c
	}
	r.used = max(r.used, x1)
}

// split makes x a character boundary: a wide character across it becomes two
// blanks.
func (r *row) split(x int, blank cell) {
	if x <= 0 || x >= len(r.cells) || r.cells[x].attr&attrTail == 0 {
		return
	}
	r.cells[x-1], r.cells[x] = blank, blank
}

// trimmed is the number of cells up to the last one that is not blank.
func (r *row) trimmed() int {
	n := r.used
	for n > 0 && r.cells[n-1] == (cell{}) {
		n--
	}
	return n
}

// grid is a screen's rows in a ring, so that scrolling the whole screen moves
// nothing.
type grid struct {
	cols, rows int
	ring       []row
	first      int // ring index of the top row
}

func newGrid(cols, rows int) grid {
	g := grid{cols: cols, rows: rows, ring: make([]row, rows)}
	slab := make([]cell, cols*rows)
	for i := range g.ring {
		g.ring[i].cells = slab[i*cols : (i+1)*cols : (i+1)*cols]
	}
	return g
}

func (g *grid) row(y int) *row {
	y += g.first
	if y >= len(g.ring) {
		y -= len(g.ring)
	}
	return &g.ring[y]
}

// rotateUp moves rows (top,bottom] up by one; the old top row becomes the
// blanked bottom row, which is returned.
func (g *grid) rotateUp(top, bottom int) *row {
	if top == 0 && bottom == g.rows-1 {
		r := &g.ring[g.first]
		if g.first++; g.first == len(g.ring) {
			g.first = 0
		}
		r.reset()
		return r
	}
	recycled := *g.row(top)
	for y := top; y < bottom; y++ {
		*g.row(y) = *g.row(y + 1)
	}
	recycled.reset()
	*g.row(bottom) = recycled
	return g.row(bottom)
}

// rotateDown is rotateUp the other way; it returns the blanked top row.
func (g *grid) rotateDown(top, bottom int) *row {
	recycled := *g.row(bottom)
	for y := bottom; y > top; y-- {
		*g.row(y) = *g.row(y - 1)
	}
	recycled.reset()
	*g.row(top) = recycled
	return g.row(top)
}

// reset blanks every row.
func (g *grid) reset() {
	for i := range g.ring {
		g.ring[i].reset()
	}
}
