package vt

import "strconv"

// sgr is Select Graphic Rendition, with sub-parameters after colons.
func (t *Terminal) sgr(p *params) {
	if p.n == 0 {
		t.resetPen()
		return
	}
	for i := 0; i < p.n; {
		end := i + 1
		for p.isSub(end) {
			end++
		}
		i = t.sgrOne(p, i, end)
	}
}

func (t *Terminal) resetPen() {
	t.pen = cell{attr: t.pen.attr & attrAnyProtected}
	t.setPenExt(0)
}

// setPenExt puts an underline colour and the open hyperlink into the pen.
func (t *Terminal) setPenExt(underline color) {
	t.pen.ext = t.internExt(ext{underline: underline, link: t.link})
}

// sgrOne applies the parameter at i, whose sub-parameters end before end, and
// returns the index of the next one.
func (t *Terminal) sgrOne(p *params, i, end int) int {
	n := p.get(i, 0)
	switch n {
	case 38, 48, 58:
		c, next, ok := sgrColor(p, i, end)
		if ok {
			t.setPenColor(n, c)
		}
		return next
	case 4:
		style := 1
		if end > i+1 {
			if style = p.get(i+1, 0); style > 5 {
				return end
			}
		}
		t.setUnderline(style)
		return end
	}
	if end > i+1 {
		return end // no other attribute has sub-parameters
	}
	switch {
	case n == 0:
		t.resetPen()
	case n >= 30 && n <= 37:
		t.pen.fg = colorIndexed | color(n-30)
	case n == 39:
		t.pen.fg = 0
	case n >= 40 && n <= 47:
		t.pen.bg = colorIndexed | color(n-40)
	case n == 49:
		t.pen.bg = 0
	case n == 59:
		t.setPenExt(0)
	case n >= 90 && n <= 97:
		t.pen.fg = colorIndexed | color(n-90+8)
	case n >= 100 && n <= 107:
		t.pen.bg = colorIndexed | color(n-100+8)
	default:
		t.sgrAttr(n)
	}
	return end
}

func (t *Terminal) setUnderline(style int) {
	t.pen.attr = t.pen.attr&^attrUnderline | attr(style)<<underlineShift
}

func (t *Terminal) sgrAttr(n int) {
	a := &t.pen.attr
	switch n {
	case 1:
		*a |= attrBold
	case 2:
		*a |= attrFaint
	case 3:
		*a |= attrItalic
	case 5, 6:
		*a |= attrBlink
	case 7:
		*a |= attrInverse
	case 8:
		*a |= attrConceal
	case 9:
		*a |= attrStrike
	case 21:
		t.setUnderline(2)
	case 22:
		*a &^= attrBold | attrFaint
	case 23:
		*a &^= attrItalic
	case 24:
		t.setUnderline(0)
	case 25:
		*a &^= attrBlink
	case 27:
		*a &^= attrInverse
	case 28:
		*a &^= attrConceal
	case 29:
		*a &^= attrStrike
	case 53:
		*a |= attrOverline
	case 55:
		*a &^= attrOverline
	}
}

func (t *Terminal) setPenColor(which int, c color) {
	switch which {
	case 38:
		t.pen.fg = c
	case 48:
		t.pen.bg = c
	case 58:
		t.setPenExt(c)
	}
}

// sgrColor reads the colour after 38, 48 or 58 at i: with colons (38:5:n,
// 38:2:r:g:b, 38:2:space:r:g:b) or semicolons (38;5;n, 38;2;r;g;b).
func sgrColor(p *params, i, end int) (c color, next int, ok bool) {
	if end > i+1 {
		c, ok = colonColor(p, i+1, end)
		return c, end, ok
	}
	switch p.get(i+1, 0) {
	case 5:
		return colorIndexed | color(p.get(i+2, 0)), i + 3, i+2 < p.n && p.get(i+2, 0) <= 255
	case 2:
		c, ok = rgbColor(p, i+2)
		return c, i + 5, ok && i+4 < p.n
	}
	return 0, i + 2, false
}

func colonColor(p *params, i, end int) (color, bool) {
	switch n := end - i; p.get(i, 0) {
	case 5:
		return colorIndexed | color(p.get(i+1, 0)), n >= 2 && p.get(i+1, 0) <= 255
	case 2:
		if n >= 5 {
			return rgbColor(p, i+2)
		}
		c, ok := rgbColor(p, i+1)
		return c, ok && n == 4
	}
	return 0, false
}

func rgbColor(p *params, i int) (color, bool) {
	r, g, b := p.get(i, 0), p.get(i+1, 0), p.get(i+2, 0)
	return colorRGB | color(r<<16|g<<8|b), r <= 255 && g <= 255 && b <= 255
}

// appendSGR appends the parameters (without CSI and m) that select the
// rendition of c from a reset one. It begins with 0.
func appendSGR(dst []byte, c cell, underline color) []byte {
	dst = append(dst, '0')
	for i, code := range [...]string{";1", ";2", ";3", ";5", ";7", ";8", ";9", ";53"} {
		if c.attr&(1<<i) != 0 {
			dst = append(dst, code...)
		}
	}
	switch u := c.attr & attrUnderline >> underlineShift; u {
	case 0:
	case 1:
		dst = append(dst, ";4"...)
	default:
		dst = append(dst, ";4:"...)
		dst = append(dst, '0'+byte(u))
	}
	if c.fg != 0 {
		dst = appendColor(append(dst, ';'), 38, c.fg)
	}
	if c.bg != 0 {
		dst = appendColor(append(dst, ';'), 48, c.bg)
	}
	if underline != 0 {
		dst = appendColor(append(dst, ';'), 58, underline)
	}
	return dst
}

// appendColor appends the parameters for one colour: 38 for the foreground, 48
// the background, 58 the underline, which only exists with colons.
func appendColor(dst []byte, which int, c color) []byte {
	if c == 0 {
		return strconv.AppendInt(dst, int64(which+1), 10)
	}
	v := int64(c &^ colorKind)
	if c&colorKind == colorIndexed {
		base := int64(which - 8)
		switch {
		case which == 58:
			dst = append(dst, "58:5:"...)
			return strconv.AppendInt(dst, v, 10)
		case v < 8:
			return strconv.AppendInt(dst, base+v, 10)
		case v < 16:
			return strconv.AppendInt(dst, base+52+v, 10)
		}
		dst = strconv.AppendInt(dst, int64(which), 10)
		return strconv.AppendInt(append(dst, ";5;"...), v, 10)
	}
	sep := byte(';')
	dst = strconv.AppendInt(dst, int64(which), 10)
	if which == 58 {
		dst = append(dst, ":2:"...)
		sep = ':'
	} else {
		dst = append(dst, ";2"...)
	}
	for _, shift := range [...]int{16, 8, 0} {
		dst = strconv.AppendInt(append(dst, sep), v>>shift&255, 10)
	}
	return dst
}

// append appends the parameters as they were written.
func (p *params) append(dst []byte) []byte {
	for i := range p.n {
		if i > 0 {
			sep := byte(';')
			if p.isSub(i) {
				sep = ':'
			}
			dst = append(dst, sep)
		}
		if p.v[i] >= 0 {
			dst = strconv.AppendInt(dst, int64(p.v[i]), 10)
		}
	}
	return dst
}
