package vt

// modeSet is a set of modes that are only on or off.
type modeSet uint64

const (
	modeKeyboardLock modeSet = 1 << iota // ANSI
	modeInsert
	modeSendReceive
	modeNewline
	modeCursorKeys // DEC private
	modeReverseVideo
	modeOrigin
	modeAutowrap
	modeAutoRepeat
	modeBlink
	modeCursor
	modeAllow132
	modeReverseWrap
	modeKeypad
	modeBackarrow
	modeMargins
	modeFocus
	modeAltScroll
	modeMeta8
	modeNumLock
	modeMetaEscape
	modeAltEscape
	modeUrgent
	modeReverseWrapExt
	modePaste
	modeSync
	modeGraphemes
	modeColorScheme
	modeResizeReport
)

const defaultModes = modeSendReceive | modeAutowrap | modeAutoRepeat | modeCursor |
	modeNumLock | modeMetaEscape

// modeNumber is a mode's number in SM/RM or, if dec, DECSET/DECRST.
type modeNumber struct {
	n   int
	dec bool
}

// modeNumbers lists the modes in the order of their bits.
func modeNumbers() [29]modeNumber {
	return [...]modeNumber{
		{2, false}, {4, false}, {12, false}, {20, false},
		{1, true}, {5, true}, {6, true}, {7, true}, {8, true}, {12, true}, {25, true},
		{40, true}, {45, true}, {66, true}, {67, true}, {69, true}, {1004, true},
		{1007, true}, {1034, true}, {1035, true}, {1036, true}, {1039, true},
		{1042, true}, {1045, true}, {2004, true}, {2026, true}, {2027, true},
		{2031, true}, {2048, true},
	}
}

func (m modeSet) has(b modeSet) bool { return m&b != 0 }

func (m *modeSet) set(b modeSet, on bool) {
	if on {
		*m |= b
	} else {
		*m &^= b
	}
}

// modeBit is the bit of mode n, 0 if it is not a plain one.
func modeBit(n int, dec bool) modeSet {
	for i, m := range modeNumbers() {
		if m.n == n && m.dec == dec {
			return 1 << i
		}
	}
	return 0
}

// setModes is SM, RM, DECSET and DECRST.
func (t *Terminal) setModes(p *params, dec, on bool) {
	for i := range p.n {
		n := p.get(i, 0)
		if dec {
			t.setDECMode(n, on)
		} else if b := modeBit(n, false); b != 0 {
			t.modes.set(b, on)
		}
	}
}

func (t *Terminal) setDECMode(n int, on bool) {
	switch n {
	case 3: // DECCOLM: the size is not ours to change, its side effects are
		if t.modes.has(modeAllow132) {
			t.resetMargins()
			t.eraseRows(0, t.rows, eraseAll)
			t.moveTo(0, 0)
		}
		return
	case 9, 1000, 1001, 1002, 1003:
		t.mouse = 0
		if on {
			t.mouse = n
		}
		return
	case 1005, 1006, 1015, 1016:
		t.mouseEnc = 0
		if on {
			t.mouseEnc = n
		}
		return
	case 47, 1047, 1049:
		t.setAltMode(n, on)
		return
	case 1048:
		if on {
			t.saveCursor()
		} else {
			t.restoreCursor()
		}
		return
	}
	b := modeBit(n, true)
	t.modes.set(b, on)
	switch b {
	case modeOrigin:
		t.home()
	case modeMargins:
		t.left, t.right = 0, t.cols-1
	case modeResizeReport:
		t.reportResize()
	}
}

// setAltMode switches screens. The alternate one is always entered clear, as
// in tmux and xterm.js; xterm keeps what mode 47 left there.
func (t *Terminal) setAltMode(n int, on bool) {
	switch {
	case on && !t.AltScreen():
		if n == 1049 {
			t.saveCursor()
		}
		t.useAlt(n)
		t.eraseRows(0, t.rows, eraseAll)
	case !on && t.AltScreen():
		t.useMain()
		if n == 1049 {
			t.restoreCursor()
		}
	case !on && n == 1049:
		t.restoreCursor()
	}
}

// saveModes is XTSAVE, restoreModes XTRESTORE.
func (t *Terminal) saveModes(p *params) {
	for i := range p.n {
		switch n := p.get(i, 0); n {
		case 9, 1000, 1001, 1002, 1003:
			t.savedMouse = t.mouse
		case 1005, 1006, 1015, 1016:
			t.savedMouseEnc = t.mouseEnc
		default:
			b := modeBit(n, true)
			t.savedModes = t.savedModes&^b | t.modes&b
		}
	}
}

func (t *Terminal) restoreModes(p *params) {
	for i := range p.n {
		switch n := p.get(i, 0); n {
		case 9, 1000, 1001, 1002, 1003:
			t.mouse = t.savedMouse
		case 1005, 1006, 1015, 1016:
			t.mouseEnc = t.savedMouseEnc
		default:
			if b := modeBit(n, true); b != 0 {
				t.setDECMode(n, t.savedModes.has(b))
			}
		}
	}
}

// modeValue is a mode's state for DECRQM: 0 unknown, 1 set, 2 reset, 3
// permanently set, 4 permanently reset.
func (t *Terminal) modeValue(n int, dec bool) int {
	onOff := func(on bool) int {
		if on {
			return 1
		}
		return 2
	}
	if b := modeBit(n, dec); b != 0 {
		return onOff(t.modes.has(b))
	}
	if !dec {
		return 0
	}
	switch n {
	case 9, 1000, 1001, 1002, 1003:
		return onOff(t.mouse == n)
	case 1005, 1006, 1015, 1016:
		return onOff(t.mouseEnc == n)
	case 47, 1047, 1049:
		return onOff(t.AltScreen())
	case 1048:
		return onOff(t.cur.saved.set)
	case 3:
		return 4
	}
	return 0
}

// kittyStack is one screen's stack of kitty keyboard flags; the last entry is
// in force (https://sw.kovidgoyal.net/kitty/keyboard-protocol).
type kittyStack struct {
	flags [maxKittyStack]uint8
	n     int
	base  uint8 // the flags below the stack, as CSI = u sets them on an empty one
}

const maxKittyStack = 16

func (k *kittyStack) current() uint8 {
	if k.n == 0 {
		return k.base
	}
	return k.flags[k.n-1]
}

// push drops the oldest entry when the stack is full.
func (k *kittyStack) push(f int) {
	if k.n == maxKittyStack {
		copy(k.flags[:], k.flags[1:])
		k.n--
	}
	k.flags[k.n] = uint8(f & 31)
	k.n++
}

// pop removes n entries; popping more than there are resets all flags.
func (k *kittyStack) pop(n int) {
	if n > k.n {
		k.base = 0
	}
	k.n -= min(n, k.n)
}

// set changes the current flags: how is 1 replace, 2 add, 3 remove.
func (k *kittyStack) set(f, how int) {
	c := &k.base
	if k.n > 0 {
		c = &k.flags[k.n-1]
	}
	b := uint8(f & 31)
	switch how {
	case 1:
		*c = b
	case 2:
		*c |= b
	case 3:
		*c &^= b
	}
}

const modifyKeyResources = 8

func noModifyKeys() (m [modifyKeyResources]int) {
	for i := range m {
		m[i] = -1
	}
	return m
}

// setModifyKeys is XTMODKEYS: CSI > Pp ; Pv m, without Pv or Pp a reset.
func (t *Terminal) setModifyKeys(p *params) {
	if p.n == 0 {
		t.modifyKeys = noModifyKeys()
		return
	}
	i := p.get(0, 0)
	if i >= modifyKeyResources {
		return
	}
	t.modifyKeys[i] = -1
	if p.n > 1 && p.v[1] >= 0 {
		t.modifyKeys[i] = int(min(p.v[1], 9))
	}
}
