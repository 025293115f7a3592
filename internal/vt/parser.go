package vt

import "unicode/utf8"

// parserState follows Paul Williams' DEC state machine
// (https://vt100.net/emu/dec_ansi_parser), with UTF-8 decoded in ground.
type parserState uint8

const (
	stGround   parserState = iota
	stEscape               // also with intermediates
	stCSI                  // parameters
	stCSIInter             // intermediates
	stCSIIgnore
	stDCS // parameters of a DCS
	stDCSInter
	stString // OSC, DCS data, APC, PM, SOS
)

const (
	maxParams     = 32
	maxParamValue = 1 << 20
	maxString     = 64 << 10
)

// parser is the state between two bytes.
type parser struct {
	state  parserState
	prefix byte // private marker: one of < = > ?
	inter  [2]byte
	ninter int
	params params
	kind   byte // of the string: ] P _ ^ X
	final  byte // of the DCS
	str    []byte
	drop   bool // the string is over its limit: swallow the rest
	c2     bool // the last byte of the string was 0xc2, perhaps of a C1 ST
	utf    [utf8.UTFMax]byte
	nutf   int
}

// params are the parameters of a control sequence.
type params struct {
	v   [maxParams]int32 // -1 omitted
	sub uint32           // bit i: v[i] came after a colon
	n   int              // 0 none
	// over counts separators beyond maxParams: those values are dropped.
	over bool
}

// get is parameter i, or def if it is omitted or 0.
func (p *params) get(i, def int) int {
	if i >= p.n || p.v[i] <= 0 {
		return def
	}
	return int(p.v[i])
}

func (p *params) isSub(i int) bool { return i < p.n && p.sub&(1<<i) != 0 }

func (p *params) digit(b byte) {
	if p.over {
		return
	}
	if p.n == 0 {
		p.n, p.v[0] = 1, -1
	}
	v := &p.v[p.n-1]
	*v = min(max(*v, 0)*10+int32(b-'0'), maxParamValue)
}

func (p *params) separator(colon bool) {
	if p.n == 0 {
		p.n, p.v[0] = 1, -1
	}
	if p.n == maxParams {
		p.over = true
		return
	}
	p.v[p.n] = -1
	if colon {
		p.sub |= 1 << p.n
	}
	p.n++
}

// Write feeds output to the terminal. It never fails.
func (t *Terminal) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		switch t.parser.state {
		case stGround:
			b = t.ground(b)
		case stString:
			b = t.stringData(b)
		case stCSI:
			b = t.csiParams(b)
		default:
			b = t.step(b)
		}
	}
	return n, nil
}

// ground consumes text and controls until a sequence begins.
func (t *Terminal) ground(b []byte) []byte {
	if t.parser.nutf > 0 {
		return t.utf8Byte(b)
	}
	for i := 0; i < len(b); {
		c := b[i]
		if c-0x20 < 0x5f {
			j := i + 1
			for j < len(b) && b[j]-0x20 < 0x5f {
				j++
			}
			t.printASCII(b[i:j])
			i = j
			continue
		}
		if c < 0x20 {
			i++
			if c == 0x1b {
				t.beginEscape()
				if i < len(b) && b[i] == '[' {
					t.parser.state = stCSI
					i++
				}
				return b[i:]
			}
			t.control(c)
			continue
		}
		if c == 0x7f {
			i++
			continue
		}
		r, k := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && k == 1 {
			return t.utf8Byte(b[i:])
		}
		i += k
		if r < 0xa0 {
			t.c1(byte(r))
			if t.parser.state != stGround {
				return b[i:]
			}
			continue
		}
		t.print(r)
	}
	return nil
}

// utf8Byte takes the first byte of b into a character that is split between
// writes or malformed. Malformed bytes are dropped, as tmux and xterm.js do:
// at most what cannot begin or go on a character is lost.
func (t *Terminal) utf8Byte(b []byte) []byte {
	p := &t.parser
	if p.nutf > 0 && b[0] < 0x80 {
		p.nutf = 0
		return b
	}
	p.utf[p.nutf] = b[0]
	p.nutf++
	if !utf8.FullRune(p.utf[:p.nutf]) {
		return b[1:]
	}
	r, k := utf8.DecodeRune(p.utf[:p.nutf])
	n := p.nutf
	p.nutf = 0
	switch {
	case r != utf8.RuneError || k > 1:
		if r < 0xa0 {
			t.c1(byte(r))
		} else {
			t.print(r)
		}
	case n > 1:
		return b // it may begin the next character
	}
	return b[1:]
}

func (t *Terminal) beginEscape() {
	p := &t.parser
	p.state, p.prefix, p.ninter = stEscape, 0, 0
	p.params.n, p.params.sub, p.params.over = 0, 0, false
}

func (t *Terminal) begin(s parserState) {
	t.beginEscape()
	t.parser.state = s
}

func (t *Terminal) beginString(kind byte) {
	p := &t.parser
	p.state, p.kind, p.drop, p.c2 = stString, kind, false, false
	p.str = p.str[:0]
}

// step takes the first byte of b inside a sequence.
func (t *Terminal) step(b []byte) []byte {
	p := &t.parser
	c := b[0]
	inDCS := p.state >= stDCS
	switch {
	case c == 0x18 || c == 0x1a:
		p.state = stGround
	case c == 0x1b:
		t.beginEscape()
	case c < 0x20:
		if !inDCS {
			t.control(c)
		}
	case c >= 0x7f: // a sequence is ASCII
	case p.state == stEscape:
		t.escapeByte(c)
	case p.state == stCSI || p.state == stDCS:
		t.paramByte(c)
	case p.state == stCSIInter || p.state == stDCSInter:
		t.interByte(c)
	case p.state == stCSIIgnore && c >= 0x40:
		p.state = stGround
	}
	return b[1:]
}

func (p *parser) collect(c byte) {
	if p.ninter < len(p.inter) {
		p.inter[p.ninter] = c
	}
	p.ninter++
}

func (t *Terminal) escapeByte(c byte) {
	p := &t.parser
	if c < 0x30 {
		p.collect(c)
		return
	}
	p.state = stGround
	if p.ninter == 0 {
		switch c {
		case '[':
			p.state = stCSI
			return
		case 'P':
			p.state = stDCS
			return
		case ']', '_', '^', 'X':
			t.beginString(c)
			return
		}
	}
	t.escDispatch(c)
}

// csiParams takes the digits and separators of a control sequence, which are
// most of its bytes, and its final byte; the rest is for step.
func (t *Terminal) csiParams(b []byte) []byte {
	p := &t.parser
	for i, c := range b {
		switch {
		case c-'0' < 10:
			p.params.digit(c)
		case c == ';':
			p.params.separator(false)
		case c-0x40 < 0x3f:
			t.finalByte(c)
			return b[i+1:]
		default:
			return t.step(b[i:])
		}
	}
	return nil
}

func (t *Terminal) paramByte(c byte) {
	p := &t.parser
	switch {
	case c < 0x30:
		p.collect(c)
		p.state++ // to its intermediate state
	case c <= '9':
		p.params.digit(c)
	case c == ':' || c == ';':
		p.params.separator(c == ':')
	case c < 0x40:
		if p.prefix != 0 || p.params.n > 0 {
			p.malformed()
			return
		}
		p.prefix = c
	default:
		t.finalByte(c)
	}
}

func (t *Terminal) interByte(c byte) {
	p := &t.parser
	switch {
	case c < 0x30:
		p.collect(c)
	case c < 0x40:
		p.malformed()
	default:
		t.finalByte(c)
	}
}

func (p *parser) malformed() {
	if p.state >= stDCS {
		p.kind, p.drop, p.str = 'P', true, p.str[:0]
		p.state = stString
		return
	}
	p.state = stCSIIgnore
}

func (t *Terminal) finalByte(c byte) {
	p := &t.parser
	if p.state >= stDCS {
		p.final = c
		t.beginString('P')
		return
	}
	p.state = stGround
	if p.ninter <= len(p.inter) {
		t.csiDispatch(c)
	}
}
