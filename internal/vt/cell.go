package vt

// color is 0 for the default colour, colorIndexed|n for a palette entry, or
// colorRGB|0xrrggbb.
type color uint32

const (
	colorIndexed color = 1 << 24
	colorRGB     color = 2 << 24
	colorKind    color = 3 << 24
)

// attr holds a cell's rendition and its role in a wide character.
type attr uint16

const (
	attrBold attr = 1 << iota
	attrFaint
	attrItalic
	attrBlink
	attrInverse
	attrConceal
	attrStrike
	attrOverline
	_ // three bits: underline style 0-5, as in SGR 4:n
	_
	_
	attrProtected    // DECSCA
	attrISOProtected // SPA/EPA
	attrWide         // left half of a wide character
	attrTail         // right half of a wide character

	underlineShift        = 8
	attrUnderline    attr = 7 << underlineShift
	attrAnyProtected      = attrProtected | attrISOProtected
	attrRole              = attrWide | attrTail
	attrStyle             = ^attrRole
	// attrSGR are the bits that SGR 0 resets.
	attrSGR = ^(attrRole | attrAnyProtected)
)

// clusterBit marks cell.ch as an index into the cluster table.
const clusterBit uint32 = 1 << 31

// cell is one position of the grid: 16 bytes. The zero cell is blank: never
// written, or erased with the default background.
type cell struct {
	ch     uint32 // 0 blank, a code point, or clusterBit|index
	attr   attr
	ext    uint16 // extTable index: underline colour and hyperlink
	fg, bg color
}

// sameStyle reports whether two cells look alike but for their text.
func (c cell) sameStyle(o cell) bool {
	return c.fg == o.fg && c.bg == o.bg && c.ext == o.ext && (c.attr^o.attr)&attrStyle == 0
}

// styleOf is c without its text and role.
func (c cell) styleOf() cell {
	c.ch = 0
	c.attr &= attrStyle
	return c
}

// blank is the cell that an erase with pen c leaves: its background only.
func (c cell) blank() cell { return cell{bg: c.bg} }
