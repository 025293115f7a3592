package vt

// stringData collects a string up to its terminator: ESC (the \ that follows
// is a sequence of its own and does nothing), C1 ST, CAN, SUB, or BEL after OSC.
func (t *Terminal) stringData(b []byte) []byte {
	p := &t.parser
	i := 0
	for ; i < len(b); i++ {
		c := b[i]
		if c >= 0x20 && c != 0x9c {
			continue
		}
		switch {
		case c == 0x1b:
			t.addString(b[:i])
			t.endString()
			t.beginEscape()
			return b[i+1:]
		case c == 0x18 || c == 0x1a:
			p.state = stGround
			return b[i+1:]
		case c == 0x07 && p.kind == ']':
			t.addString(b[:i])
			t.endString()
			return b[i+1:]
		case c == 0x9c && (i > 0 && b[i-1] == 0xc2 || i == 0 && p.c2):
			t.addString(b[:i])
			if n := len(p.str); n > 0 && !p.drop {
				p.str = p.str[:n-1]
			}
			t.endString()
			return b[i+1:]
		case c < 0x20:
			t.addString(b[:i])
			p.c2 = false
			return b[i+1:]
		}
	}
	t.addString(b)
	return nil
}

func (t *Terminal) addString(b []byte) {
	p := &t.parser
	if len(b) == 0 {
		return
	}
	p.c2 = b[len(b)-1] == 0xc2
	if p.drop {
		return
	}
	if len(p.str)+len(b) > maxString {
		p.drop, p.str = true, nil
		return
	}
	p.str = append(p.str, b...)
}

func (t *Terminal) endString() {
	p := &t.parser
	p.state = stGround
	t.last.valid = false
	if !p.drop {
		switch p.kind {
		case ']':
			t.oscDispatch(p.str)
		case 'P':
			t.dcsDispatch(p.str)
		}
	}
	if cap(p.str) > 4096 {
		p.str = nil
	}
}
