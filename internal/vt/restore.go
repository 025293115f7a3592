package vt

import (
	"fmt"
	"maps"
	"slices"
)

// titles sets the title stack and the titles.
func (p *painter) titles() {
	t := p.t
	for _, s := range t.titleStack {
		p.title(s)
		p.out = append(p.out, "\x1b[22;0t"...)
	}
	if len(t.titleStack) > 0 || t.title != "" || t.icon != "" {
		p.title(titlePair{t.icon, t.title})
	}
}

func (p *painter) title(s titlePair) {
	if s.icon == s.title {
		p.out = fmt.Appendf(p.out, "\x1b]0;%s\x1b\\", s.title)
		return
	}
	p.out = fmt.Appendf(p.out, "\x1b]1;%s\x1b\\\x1b]2;%s\x1b\\", s.icon, s.title)
}

// palette sets the colours that the program has changed.
func (p *painter) palette() {
	c := &p.t.colors
	for _, n := range slices.Sorted(maps.Keys(c.palette)) {
		p.out = fmt.Appendf(p.out, "\x1b]4;%d;%s\x1b\\", n, c.palette[n])
	}
	for i, spec := range c.dynamic {
		if spec != "" {
			p.out = fmt.Appendf(p.out, "\x1b]%d;%s\x1b\\", i+10, spec)
		}
	}
}

// penStack pushes what XTPUSHSGR has pushed.
func (p *painter) penStack() {
	for _, c := range p.t.penStack {
		c.ext = 0
		p.pen(c)
		p.out = append(p.out, "\x1b[#{"...)
	}
	p.pen(cell{})
}

// kitty rebuilds a screen's keyboard flags.
func (p *painter) kitty(k *kittyStack) {
	if k.base != 0 {
		p.out = fmt.Appendf(p.out, "\x1b[=%d;1u", k.base)
	}
	for _, f := range k.flags[:k.n] {
		p.out = fmt.Appendf(p.out, "\x1b[>%du", f)
	}
}

// savedCursor makes the target save the cursor that s has saved. What it had
// to switch for that is in force until undo is called: entering the alternate
// screen by mode 1049 in between saves the same again.
func (p *painter) savedCursor(s *screen) (undo func()) {
	c := &s.saved
	if !c.set {
		return func() {}
	}
	if c.origin {
		p.private(6, true)
	}
	p.moveTo(min(c.x, p.t.cols-1), min(c.y, p.t.rows-1))
	p.pen(c.pen)
	p.charsets(c.charsets)
	p.out = append(p.out, "\x1b7"...)
	return func() {
		if c.origin {
			p.private(6, false)
		}
		p.pen(cell{})
		p.resetCharsets(c.charsets)
	}
}

// reprint prints the character in column x again. Where there is none, as when
// the row was erased or moved with a wrap pending, a space is printed and erased
// by what leaves the wrap pending: EL 1, or DECERA where terminals have it. That
// is given the cell's position, from 1.
func (p *painter) reprint(r *row, x, px, py int) {
	c := r.cells[x]
	p.pen(c)
	if b, ok := p.t.charsets.encode(c.ch); ok {
		p.out = append(p.out, b)
		return
	}
	p.out = p.clusters.appendText(p.out, c.ch)
	switch {
	case c.ch != 0:
	case r.uniform(x):
		p.out = append(p.out, "\x1b[1K"...)
	default:
		p.out = fmt.Appendf(p.out, "\x1b[%d;%d;%d;%d$z", py, px, py, px)
	}
}

// uniform reports whether columns 0 to x are all as x is.
func (r *row) uniform(x int) bool {
	for _, c := range r.cells[:x] {
		if c != r.cells[x] {
			return false
		}
	}
	return true
}

// charsets designates and shifts what differs from a fresh terminal. A pending
// single shift comes after everything else.
func (p *painter) charsets(c charsets) {
	for i, set := range c.g {
		if set != 'B' {
			p.out = append(p.out, 0x1b, '('+byte(i), set)
		}
	}
	p.out = append(p.out, [...]string{"", "\x0e", "\x1bn", "\x1bo"}[c.gl]...)
}

func (p *painter) resetCharsets(c charsets) {
	for i, set := range c.g {
		if set != 'B' {
			p.out = append(p.out, 0x1b, '('+byte(i), 'B')
		}
	}
	if c.gl != 0 {
		p.out = append(p.out, 0x0f)
	}
}

// tabStops sets the stops if they are not the default ones.
func (p *painter) tabStops() {
	t := p.t
	fresh := make([]bool, t.cols)
	defaultTabs(fresh, 0)
	if slices.Equal(fresh, t.tabs) {
		return
	}
	p.out = append(p.out, "\x1b[3g"...)
	for x, set := range t.tabs {
		if set {
			p.moveTo(x, 0)
			p.out = append(p.out, "\x1bH"...)
		}
	}
}

// modes sets every mode that differs from a fresh terminal's, first those that
// XTSAVE has saved, then margins, which need mode 69 and go home.
func (p *painter) modes() {
	t := p.t
	for i, m := range modeNumbers() {
		bit := modeSet(1) << i
		now := defaultModes
		now.set(modeGraphemes, p.graphemes)
		if saved := t.savedModes.has(bit); m.dec && saved != now.has(bit) {
			p.private(m.n, saved)
			p.out = fmt.Appendf(p.out, "\x1b[?%ds", m.n)
			now.set(bit, saved)
		}
		if on := t.modes.has(bit); on == now.has(bit) {
			continue
		} else if bit == modeKeypad { // tmux has no mode 66
			p.out = append(p.out, 0x1b, map[bool]byte{true: '=', false: '>'}[on])
		} else if m.dec {
			p.private(m.n, on)
		} else {
			p.out = fmt.Appendf(p.out, "\x1b[%d%c", m.n, map[bool]byte{true: 'h', false: 'l'}[on])
		}
	}
	p.exclusive(t.savedMouse, t.mouse)
	p.exclusive(t.savedMouseEnc, t.mouseEnc)
	if t.modes.has(modeMargins) && !t.fullWidth() {
		p.out = fmt.Appendf(p.out, "\x1b[%d;%ds", t.left+1, t.right+1)
	}
	if t.top != 0 || t.bottom != t.rows-1 {
		p.out = fmt.Appendf(p.out, "\x1b[%d;%dr", t.top+1, t.bottom+1)
	}
	if t.cursorStyle != 0 {
		p.out = fmt.Appendf(p.out, "\x1b[%d q", t.cursorStyle)
	}
	for i, v := range t.modifyKeys {
		if v >= 0 {
			p.out = fmt.Appendf(p.out, "\x1b[>%d;%dm", i, v)
		}
	}
}

// exclusive sets one of a group of modes of which only one can be set.
func (p *painter) exclusive(saved, now int) {
	if saved != 0 {
		p.private(saved, true)
		p.out = fmt.Appendf(p.out, "\x1b[?%ds", saved)
		if saved != now {
			p.private(saved, false)
		}
	}
	if now != 0 && now != saved {
		p.private(now, true)
	}
}

// cursor puts the cursor and its pen where they are. If the program's last act
// was to print, so is the snapshot's: a combining mark or REP that comes next
// then finds its character. Printing again also brings back a pending wrap.
func (p *painter) cursor() {
	t := p.t
	x, y := t.x, t.y
	again := t.last.valid || t.pending
	if again {
		if t.last.valid {
			x, y = t.last.x, t.last.y
		}
		if x > 0 && t.cur.row(y).cells[x].attr&attrTail != 0 {
			x--
		}
	}
	ox, oy := 0, 0
	if t.modes.has(modeOrigin) {
		ox, oy = t.left, t.top
	}
	p.moveTo(max(x-ox, 0), max(y-oy, 0))
	if again {
		r := t.cur.row(y)
		if t.modes.has(modeInsert) { // printing shifts the rest right: shift it left first
			p.pen(t.pen)
			p.csi(1+int(r.cells[x].attr&attrWide/attrWide), 'P')
		}
		p.reprint(r, x, x-ox+1, y-oy+1)
	}
	p.pen(t.pen)
	switch t.charsets.single {
	case 2:
		p.out = append(p.out, "\x1bN"...)
	case 3:
		p.out = append(p.out, "\x1bO"...)
	}
}
