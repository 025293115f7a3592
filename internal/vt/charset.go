package vt

// charsets are the four designated sets, which of them is shifted into GL, and
// a pending single shift. GR is not modelled: bytes over 0x7f are UTF-8.
type charsets struct {
	g      [4]byte // final byte of the designation: B ASCII, 0 DEC graphics, A UK
	gl     uint8
	single uint8 // 2 or 3 after SS2 or SS3, for one character
	plain  bool  // ASCII in GL and no single shift
}

func newCharsets() charsets {
	return charsets{g: [4]byte{'B', 'B', 'B', 'B'}, plain: true}
}

func (c *charsets) update() {
	c.plain = c.single == 0 && c.g[c.gl] != '0' && c.g[c.gl] != 'A'
}

func (c *charsets) designate(n int, set byte) {
	c.g[n] = set
	c.update()
}

func (c *charsets) shift(n uint8) {
	c.gl = n
	c.update()
}

func (c *charsets) singleShift(n uint8) {
	c.single = n
	c.update()
}

func (c *charsets) translates() bool { return !c.plain }

// decGraphics is the DEC Special Character and Line Drawing Set from 0x5f on.
const decGraphics = "\u00a0◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"

// translate maps a byte through GL or the single shift, which it uses up.
func (c *charsets) translate(b byte) rune {
	if c.plain {
		return rune(b)
	}
	set := c.g[c.gl]
	if c.single != 0 {
		set = c.g[c.single]
		c.singleShift(0)
	}
	switch {
	case set == 'A' && b == '#':
		return '£'
	case set == '0' && b >= 0x5f && b <= 0x7e:
		n := b - 0x5f
		for _, r := range decGraphics {
			if n == 0 {
				return r
			}
			n--
		}
	}
	return rune(b)
}

// encode is the byte that prints ch through a translating set in GL. A terminal
// may repeat only what came as one byte.
func (c charsets) encode(ch uint32) (b byte, ok bool) {
	if c.plain || c.single != 0 {
		return 0, false
	}
	for b = '#'; b <= 0x7e; b++ {
		if r := c.translate(b); r != rune(b) && uint32(r) == ch {
			return b, true
		}
	}
	return 0, false
}
