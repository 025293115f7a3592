package vt

import "unicode/utf8"

// painter writes what makes a fresh terminal look like t. It knows what it has
// made of that terminal so far.
type painter struct {
	t        *Terminal
	clusters *clusterTable // of the cells being painted
	out      []byte

	style     cell // rendition and protection in force
	underline color
	link      link
	painted   bool // a row has been painted
	graphemes bool // mode 2027 is set
	carry     carry
	fix       fix
	last      cell // with carryBlank: the cell in the last column
}

// carry says how the row just painted goes on in the next one.
type carry int

const (
	carryNone  carry = iota
	carryWrap        // the last column is written: the next character wraps
	carryBlank       // the last column is blank, perhaps since a wide character did not fit
)

// fix is what the last column really holds, where something else had to be
// printed to make the row wrap.
type fix struct {
	set  bool
	x    int
	cell cell
	text string
}

// pen switches the rendition, protection and hyperlink to those of c.
func (p *painter) pen(c cell) {
	if c.sameStyle(p.style) {
		return
	}
	if c.attr&attrProtected != p.style.attr&attrProtected {
		p.out = append(p.out, "\x1b["...)
		if c.attr&attrProtected != 0 {
			p.out = append(p.out, '1')
		}
		p.out = append(p.out, "\"q"...)
	}
	if iso := c.attr & attrISOProtected; iso != p.style.attr&attrISOProtected {
		if iso != 0 {
			p.out = append(p.out, "\x1bV"...)
		} else {
			p.out = append(p.out, "\x1bW"...)
		}
	}
	e := p.t.exts.get(c.ext)
	if e.link != p.link {
		p.openLink(e.link)
	}
	p.sgr(c, e.underline)
	p.style = c.styleOf()
}

func (p *painter) openLink(l link) {
	p.out = append(p.out, "\x1b]8;"...)
	if l.id != "" {
		p.out = append(append(p.out, "id="...), l.id...)
	}
	p.out = append(append(p.out, ';'), l.uri...)
	p.out = append(p.out, "\x1b\\"...)
	p.link = l
}

func (p *painter) sgr(c cell, underline color) {
	s := p.style
	attrs := (c.attr^s.attr)&attrSGR == 0
	if attrs && c.fg == s.fg && c.bg == s.bg && underline == p.underline {
		return
	}
	p.out = append(p.out, "\x1b["...)
	switch {
	case c.attr&attrSGR == 0 && c.fg == 0 && c.bg == 0 && underline == 0:
	case attrs:
		n := len(p.out)
		p.colorChange(n, 38, s.fg, c.fg)
		p.colorChange(n, 48, s.bg, c.bg)
		p.colorChange(n, 58, p.underline, underline)
	default:
		p.out = appendSGR(p.out, c, underline)
	}
	p.out = append(p.out, 'm')
	p.underline = underline
}

func (p *painter) colorChange(start, which int, old, c color) {
	if old == c {
		return
	}
	if len(p.out) > start {
		p.out = append(p.out, ';')
	}
	p.out = appendColor(p.out, which, c)
}

// row paints one row from its first column, where the cursor is or, after a
// row that wrapped, where printing takes it.
func (p *painter) row(r *row) {
	p.enterRow(r.cells[0])
	cols := p.t.cols
	end := r.trimmed()
	if r.wrapped {
		end = cols
	}
	at := 0 // the target's column; cells between at and x are blank there
	for x := 0; x < end; {
		c := r.cells[x]
		n := 1
		switch {
		case c.ch != 0:
			p.skip(at, x)
			if c.attr&attrWide != 0 {
				n = 2
			}
			p.char(c, x, n, r.wrapped)
			at = x + n
		default:
			for x+n < end && r.cells[x+n].ch == 0 && r.cells[x+n].sameStyle(c) && r.cells[x+n].attr&attrTail == 0 {
				n++
			}
			if !c.sameStyle(cell{}) {
				p.skip(at, x)
				at = x
				p.pen(c)
				p.csi(n, 'X')
			}
		}
		x += n
	}
	p.leaveRow(r, at)
}

// skip moves right from column at to x over cells that are right already.
func (p *painter) skip(at, x int) {
	if x > at {
		p.csi(x-at, 'C')
	}
}

// char prints the character c of n columns at x, and puts the cursor where it
// should be then if terminals may differ about its width.
func (p *painter) char(c cell, x, n int, wraps bool) {
	p.pen(c)
	if g := c.ch&clusterBit != 0 && needsGraphemes(p.clusters.text[c.ch&^clusterBit], n); g != p.graphemes {
		p.private(2027, g)
		p.graphemes = g
	}
	cols := p.t.cols
	if p.sure(c) {
		p.out = p.clusters.appendText(p.out, c.ch)
		return
	}
	if x+n == cols && wraps && p.t.rows > 1 {
		p.csi(cols, 'G')
		p.out = append(p.out, ' ')
		p.fix = fix{set: true, x: x, cell: c, text: string(p.clusters.appendText(nil, c.ch))}
		return
	}
	p.out = p.clusters.appendText(p.out, c.ch)
	if x+n < cols {
		p.csi(x+n+1, 'G')
	}
}

// leaveRow brings the cursor to where the next row can go on.
func (p *painter) leaveRow(r *row, at int) {
	cols := p.t.cols
	if r.size != lineSingle { // only now is the cursor surely in this row
		p.out = append(p.out, 0x1b, '#', [...]byte{'5', '6', '3', '4'}[r.size])
	}
	switch {
	case !r.wrapped:
		p.carry = carryNone
	case at < cols:
		p.skip(at, cols-1)
		p.carry, p.last = carryBlank, r.cells[cols-1]
	default:
		p.carry = carryWrap
	}
}

// enterRow makes a wrapped row's continuation begin. If its first character
// cannot simply be printed, a space wraps in its place. Wrapping may scroll,
// and then fills the new row with the background in force.
func (p *painter) enterRow(first cell) {
	how := p.carry
	p.carry = carryNone
	natural := first.ch != 0 && first.bg == 0 && !p.fix.set
	switch {
	case how == carryNone:
		return
	case how == carryBlank && natural && p.last.bg == 0 && first.attr&attrWide != 0 && p.sure(first):
		p.pen(cell{})
		return
	case how == carryBlank: // print there, blank it later
		p.pen(cell{})
		p.out = append(p.out, ' ')
		p.fix = fix{set: true, x: p.t.cols - 1, cell: p.last}
	case natural:
		return
	}
	p.pen(cell{})
	p.out = append(p.out, ' ', '\r')
	if f := p.fix; f.set {
		p.csi(1, 'A')
		if f.x > 0 {
			p.csi(f.x+1, 'G')
		}
		p.pen(f.cell)
		if f.text == "" {
			p.csi(1, 'X')
		} else {
			p.out = append(p.out, f.text...)
		}
		p.pen(cell{})
		p.out = append(p.out, '\r')
		p.csi(1, 'B')
		p.fix = fix{}
	}
	if first.ch == 0 {
		p.csi(1, 'X')
	}
}

// needsGraphemes reports whether the cluster s was joined to n columns only
// because mode 2027 was set.
func needsGraphemes(s string, n int) bool {
	for i, r := range s {
		if w := runeWidth(r); i == 0 && w != n || i > 0 && w > 0 {
			return true
		}
	}
	return false
}

// sure reports whether the target surely gives c our width. On a screen of one
// row there is no going back to mend, so it is taken at its word.
func (p *painter) sure(c cell) bool {
	return p.t.rows == 1 || sureWidth(c, p.clusters)
}

// sureWidth reports whether every terminal gives c the width that we do: not
// so for emoji, joined clusters and what newer versions of Unicode changed.
func sureWidth(c cell, t *clusterTable) bool {
	if c.ch&clusterBit == 0 {
		return sureRune(rune(c.ch))
	}
	s := t.text[c.ch&^clusterBit]
	base, n := utf8.DecodeRuneInString(s)
	if !sureRune(base) {
		return false
	}
	for _, r := range s[n:] {
		if r < 0x300 || r > 0x36f {
			return false
		}
	}
	return true
}

func sureRune(r rune) bool {
	switch {
	case r < 0x300:
		return r != 0xad
	case r >= 0x370 && r <= 0x482, r >= 0x48a && r <= 0x52f, // Greek, Cyrillic
		r >= 0x2010 && r <= 0x2027, r >= 0x2030 && r <= 0x205e, // punctuation
		r >= 0x2190 && r <= 0x2193, r >= 0x2200 && r <= 0x22ff, // arrows, mathematics
		r >= 0x2400 && r <= 0x2426, r >= 0x23ba && r <= 0x23bd,
		r >= 0x2500 && r <= 0x25a9, r >= 0x2800 && r <= 0x28ff, // boxes, Braille
		r >= 0xe0a0 && r <= 0xe0b3: // Powerline
		return true
	case r >= 0x2e80 && r <= 0x2ffb, r >= 0x3001 && r <= 0x3029, // CJK
		r >= 0x3041 && r <= 0x3096, r >= 0x30a0 && r <= 0x30ff,
		r >= 0x3400 && r <= 0x4dbf, r >= 0x4e00 && r <= 0x9fff,
		r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xff01 && r <= 0xff60, r >= 0x20000 && r <= 0x2fffd:
		return true
	case r == utf8.RuneError:
		return true
	}
	return false
}
