package vt

// Cell is one position of the screen, for those who look at it.
type Cell struct {
	Text  string // empty: blank, or the right half of a wide character
	Width int    // 1, 2, or 0 for the right half
	Style string // SGR parameters that select its rendition from a reset one
	Link  string // hyperlink's URI
}

// At returns the cell in column x and row y of the screen that is shown.
func (t *Terminal) At(x, y int) Cell {
	c := t.cur.row(y).cells[x]
	e := t.exts.get(c.ext)
	out := Cell{Width: 1, Style: string(appendSGR(nil, c, e.underline)), Link: e.link.uri}
	switch {
	case c.attr&attrTail != 0:
		out.Width = 0
	case c.attr&attrWide != 0:
		out.Width = 2
	}
	if c.ch != 0 {
		out.Text = string(t.appendText(nil, c))
	}
	return out
}

// Wrapped reports whether the text of row y goes on in the row below.
func (t *Terminal) Wrapped(y int) bool { return t.cur.row(y).wrapped }

// ScrollbackLen is the number of rows in the scrollback, and dropped how many
// were there before and are not any more.
func (t *Terminal) ScrollbackLen() (rows int, dropped uint64) { return t.hist.n, t.hist.dropped }

// AppendScrollback appends the text of row i of the scrollback (0 the oldest),
// without trailing blanks, and reports whether it goes on in the next one.
func (t *Terminal) AppendScrollback(dst []byte, i int) (text []byte, wrapped bool) {
	rec := t.hist.at(i)
	var clusters clusterTable
	return appendCells(dst, rec.unpack(nil, &clusters), &clusters), rec.wrapped
}

// AppendLine appends the text of row y of the screen, without trailing blanks,
// and reports whether it goes on in the row below.
func (t *Terminal) AppendLine(dst []byte, y int) (text []byte, wrapped bool) {
	r := t.cur.row(y)
	return appendCells(dst, r.cells[:r.used], &t.clusters), r.wrapped
}

func appendCells(dst []byte, cells []cell, c *clusterTable) []byte {
	end := len(dst)
	for _, v := range cells {
		if v.attr&attrTail != 0 {
			continue
		}
		dst = c.appendText(dst, v.ch)
		if v.ch != 0 {
			end = len(dst)
		}
	}
	return dst[:end]
}
