package vt

// control executes a C0 control.
func (t *Terminal) control(c byte) {
	t.last.valid = false
	switch c {
	case 0x07:
		t.event(Event{Kind: Bell})
	case 0x08:
		t.backward(1)
	case 0x09:
		t.tab(1)
	case 0x0a, 0x0b, 0x0c:
		t.lineFeed()
	case 0x0d:
		t.carriageReturn()
	case 0x0e:
		t.charsets.shift(1)
	case 0x0f:
		t.charsets.shift(0)
	}
}

// c1 executes a C1 control that came as a UTF-8 encoded U+0080-U+009F, which
// is how xterm takes them in UTF-8 mode.
func (t *Terminal) c1(c byte) {
	t.last.valid = false
	switch c {
	case 0x90:
		t.begin(stDCS)
	case 0x98, 0x9d, 0x9e, 0x9f:
		t.beginString(c - 0x40)
	case 0x9b:
		t.begin(stCSI)
	default:
		t.parser.ninter = 0
		t.escDispatch(c - 0x40)
	}
}

// escDispatch executes an escape sequence.
func (t *Terminal) escDispatch(c byte) {
	t.last.valid = false
	if n := t.parser.ninter; n > 0 {
		if n == 1 {
			t.escInter(t.parser.inter[0], c)
		}
		return
	}
	switch c {
	case '7':
		t.saveCursor()
	case '8':
		t.restoreCursor()
	case 'D':
		t.index()
	case 'E':
		t.carriageReturn()
		t.index()
	case 'H':
		t.tabs[t.x] = true
	case 'M':
		t.reverseIndex()
	case 'N':
		t.charsets.singleShift(2)
	case 'O':
		t.charsets.singleShift(3)
	case 'V':
		t.pen.attr |= attrISOProtected
	case 'W':
		t.pen.attr &^= attrISOProtected
	case 'Z':
		t.reportDA1()
	case 'c':
		t.reset()
	case 'n':
		t.charsets.shift(2)
	case 'o':
		t.charsets.shift(3)
	case '6':
		t.backIndex()
	case '9':
		t.forwardIndex()
	case '=':
		t.modes.set(modeKeypad, true)
	case '>':
		t.modes.set(modeKeypad, false)
	}
}

func (t *Terminal) escInter(inter, c byte) {
	switch inter {
	case '(', ')', '*', '+':
		t.charsets.designate(int(inter-'('), c)
	case '#':
		t.lineAttribute(c)
	}
}

// lineAttribute is DECDHL, DECSWL, DECDWL and DECALN.
func (t *Terminal) lineAttribute(c byte) {
	r := t.cur.row(t.y)
	switch c {
	case '3':
		r.size = lineDoubleTop
	case '4':
		r.size = lineDoubleBottom
	case '5':
		r.size = lineSingle
	case '6':
		r.size = lineDouble
	case '8':
		t.alignmentTest()
	}
}

// backIndex is DECBI, forwardIndex DECFI.
func (t *Terminal) backIndex() {
	if t.x == t.left {
		t.shiftColumns(t.left, 1)
		return
	}
	t.moveTo(t.x-1, t.y)
}

func (t *Terminal) forwardIndex() {
	if t.x == t.right {
		t.shiftColumns(t.left, -1)
		return
	}
	t.moveTo(t.x+1, t.y)
}
