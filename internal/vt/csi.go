package vt

// csiDispatch executes a control sequence with the final byte c.
func (t *Terminal) csiDispatch(c byte) {
	p := &t.parser
	key := int(c)
	if p.ninter > 0 {
		key |= int(p.inter[0]) << 8
	}
	if p.ninter > 1 {
		return // no sequence that we know has two
	}
	if key == 'b' && p.prefix == 0 {
		t.repeat(p.params.get(0, 1))
		return
	}
	t.last.valid = false
	switch p.prefix {
	case 0:
		if p.ninter == 0 {
			if !t.csiMove(c) && !t.csiEdit(c) {
				t.csiState(c)
			}
			return
		}
		t.csiInter(key)
	case '?':
		t.csiPrivate(key)
	case '>':
		t.csiGreater(key)
	case '=':
		t.csiEqual(key)
	case '<':
		if key == 'u' {
			t.cur.kitty.pop(p.params.get(0, 1))
		}
	}
}

// csiMove executes what only moves the cursor.
func (t *Terminal) csiMove(c byte) bool {
	p := &t.parser.params
	n := p.get(0, 1)
	switch c {
	case 'A', 'k':
		t.up(n)
	case 'B', 'e':
		t.down(n)
	case 'C', 'a':
		t.forward(n)
	case 'D', 'j':
		t.backward(n)
	case 'E':
		t.down(n)
		t.carriageReturn()
	case 'F':
		t.up(n)
		t.carriageReturn()
	case 'G', '`':
		t.column(n - 1)
	case 'H', 'f':
		t.position(p.get(1, 1)-1, n-1)
	case 'I':
		t.tab(n)
	case 'Z':
		t.backTab(n)
	case 'd':
		t.line(n - 1)
	default:
		return false
	}
	return true
}

// csiEdit executes what changes text.
func (t *Terminal) csiEdit(c byte) bool {
	p := &t.parser.params
	n := p.get(0, 1)
	switch c {
	case '@':
		t.pending = false
		t.insertCells(n)
	case 'J':
		t.eraseDisplay(p.get(0, 0), eraseNormal)
	case 'K':
		t.eraseLine(p.get(0, 0), eraseNormal)
	case 'L':
		t.insertLines(n)
	case 'M':
		t.deleteLines(n)
	case 'P':
		t.pending = false
		t.deleteAt(t.x, t.y, n)
	case 'S':
		t.scrollUp(n)
	case 'T':
		if p.n < 2 { // five parameters are highlight mouse tracking
			t.scrollDown(n)
		}
	case '^':
		t.scrollDown(n)
	case 'X':
		t.eraseChars(n)
	default:
		return false
	}
	return true
}

// csiState executes the rest of the sequences without intermediates.
func (t *Terminal) csiState(c byte) {
	p := &t.parser.params
	switch c {
	case 'c':
		if p.get(0, 0) == 0 {
			t.reportDA1()
		}
	case 'g':
		t.clearTabs(p.get(0, 0))
	case 'h':
		t.setModes(p, false, true)
	case 'l':
		t.setModes(p, false, false)
	case 'm':
		t.sgr(p)
	case 'n':
		t.reportStatus(p.get(0, 0))
	case 'r':
		t.setMargins(p.get(0, 1), p.get(1, 0))
	case 's':
		if t.modes.has(modeMargins) {
			t.setSideMargins(p.get(0, 1), p.get(1, 0))
		} else {
			t.saveCursor()
		}
	case 't':
		t.window(p)
	case 'u':
		t.restoreCursor()
	case 'x':
		t.reportParameters(p.get(0, 0))
	}
}

// csiInter executes sequences with an intermediate byte: inter<<8 | final.
func (t *Terminal) csiInter(key int) {
	p := &t.parser.params
	n := p.get(0, 1)
	switch key {
	case ' '<<8 | '@':
		t.shiftColumns(t.left, -n)
	case ' '<<8 | 'A':
		t.shiftColumns(t.left, n)
	case ' '<<8 | 'q':
		if s := p.get(0, 0); s <= 6 {
			t.cursorStyle = s
		}
	case '!'<<8 | 'p':
		t.softReset()
	case '"'<<8 | 'q':
		t.protect(p.get(0, 0))
	case '\''<<8 | '}':
		if t.insideMargins() {
			t.shiftColumns(t.x, n)
		}
	case '\''<<8 | '~':
		if t.insideMargins() {
			t.shiftColumns(t.x, -n)
		}
	case '#'<<8 | '{', '#'<<8 | 'p':
		if len(t.penStack) < maxPenStack {
			t.penStack = append(t.penStack, t.pen)
		}
	case '#'<<8 | '}', '#'<<8 | 'q':
		t.popPen()
	case '$'<<8 | 'p':
		t.reportMode(p.get(0, 0), false)
	case '$'<<8 | 'w':
		t.reportPresentation(p.get(0, 0))
	case '&'<<8 | 'u':
		t.replyDCS("0!u%5")
	default:
		t.rectangle(key)
	}
}

// csiPrivate executes sequences with the prefix ?.
func (t *Terminal) csiPrivate(key int) {
	p := &t.parser.params
	switch key {
	case 'h':
		t.setModes(p, true, true)
	case 'l':
		t.setModes(p, true, false)
	case 'r':
		t.restoreModes(p)
	case 's':
		t.saveModes(p)
	case 'J':
		t.eraseDisplay(p.get(0, 0), eraseSelective)
	case 'K':
		t.eraseLine(p.get(0, 0), eraseSelective)
	case 'S':
		t.reportGraphics(p.get(0, 0))
	case 'W':
		if p.get(0, 0) == 5 {
			defaultTabs(t.tabs, 0)
		}
	case 'm':
		t.reportModifyKeys(p.get(0, 0))
	case 'n':
		t.reportPrivateStatus(p.get(0, 0))
	case 'u':
		t.replyCSI("?%du", t.cur.kitty.current())
	case '$'<<8 | 'p':
		t.reportMode(p.get(0, 0), true)
	}
}

// csiGreater executes sequences with the prefix >.
func (t *Terminal) csiGreater(key int) {
	p := &t.parser.params
	switch key {
	case 'c':
		if p.get(0, 0) == 0 {
			t.reportDA2()
		}
	case 'm':
		t.setModifyKeys(p)
	case 'n':
		if i := p.get(0, 0); i < modifyKeyResources {
			t.modifyKeys[i] = -1
		}
	case 'q':
		if p.get(0, 0) == 0 {
			t.reportVersion()
		}
	case 'u':
		t.cur.kitty.push(p.get(0, 0))
	}
}

// csiEqual executes sequences with the prefix =.
func (t *Terminal) csiEqual(key int) {
	p := &t.parser.params
	switch key {
	case 'c':
		if p.get(0, 0) == 0 {
			t.replyDCS("!|00000000")
		}
	case 'u':
		t.cur.kitty.set(p.get(0, 0), p.get(1, 1))
	}
}

// protect is DECSCA.
func (t *Terminal) protect(n int) {
	switch n {
	case 0, 2:
		t.pen.attr &^= attrProtected
	case 1:
		t.pen.attr |= attrProtected
	}
}

const maxPenStack = 10

// popPen is XTPOPSGR.
func (t *Terminal) popPen() {
	n := len(t.penStack)
	if n == 0 {
		return
	}
	pen := t.penStack[n-1]
	t.penStack = t.penStack[:n-1]
	protected := t.pen.attr & attrAnyProtected
	t.pen = pen
	t.pen.attr = pen.attr&attrSGR | protected
	t.setPenExt(t.exts.get(pen.ext).underline)
}
