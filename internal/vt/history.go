package vt

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// The scrollback keeps rows packed: text as UTF-8, and these codes between.
// A plain line costs one byte a column, not sixteen, and does not depend on
// the screen's width: it is wrapped anew when it is shown.
const (
	packStyle   = 1 // attr, ext (2 bytes each), fg, bg (4 bytes each)
	packBlanks  = 2 // uvarint n: n blank cells of the current style
	packWide    = 3 // the next character is two cells wide
	packCluster = 4 // 0 or 1 (wide), uvarint length, text
)

const historyBlock = 64 << 10

// record is one packed row.
type record struct {
	data    []byte
	wrapped bool
	size    lineSize
}

// recordOverhead is what a record costs besides its data.
const recordOverhead = 32

// history is the scrollback: a ring of records, bounded by lines and bytes.
type history struct {
	maxLines, maxBytes int

	ring    []record
	first   int
	n       int
	bytes   int
	dropped uint64 // records ever dropped from the top
	block   []byte // current arena; records point into it
	scratch []byte
}

func (h *history) at(i int) *record {
	i += h.first
	if i >= len(h.ring) {
		i -= len(h.ring)
	}
	return &h.ring[i]
}

// push packs r at the end. Clusters are read from c.
func (h *history) push(r *row, c *clusterTable) {
	if h.maxLines <= 0 {
		return
	}
	h.scratch = packRow(h.scratch[:0], r, c)
	rec := record{data: h.store(h.scratch), wrapped: r.wrapped, size: r.size}
	for h.n > 0 && (h.n >= h.maxLines || h.bytes+len(rec.data)+recordOverhead > h.maxBytes) {
		h.dropFirst()
	}
	if h.n == len(h.ring) {
		h.grow()
	}
	h.n++
	*h.at(h.n - 1) = rec
	h.bytes += len(rec.data) + recordOverhead
}

// store copies b into the arena.
func (h *history) store(b []byte) []byte {
	if cap(h.block)-len(h.block) < len(b) {
		h.block = make([]byte, 0, max(historyBlock, len(b)))
	}
	n := len(h.block)
	h.block = append(h.block, b...)
	return h.block[n:len(h.block):len(h.block)]
}

func (h *history) grow() {
	ring := make([]record, min(h.maxLines, max(64, 2*len(h.ring))))
	for i := range h.n {
		ring[i] = *h.at(i)
	}
	h.ring, h.first = ring, 0
}

func (h *history) dropFirst() {
	rec := h.at(0)
	h.bytes -= len(rec.data) + recordOverhead
	*rec = record{}
	if h.first++; h.first == len(h.ring) {
		h.first = 0
	}
	h.n--
	h.dropped++
}

// pop removes and returns the newest record.
func (h *history) pop() record {
	rec := h.at(h.n - 1)
	out := *rec
	*rec = record{}
	h.n--
	h.bytes -= len(out.data) + recordOverhead
	return out
}

// cut ends the line that the newest record leaves open.
func (h *history) cut() {
	if h.n > 0 {
		h.at(h.n - 1).wrapped = false
	}
}

func (h *history) clear() {
	h.dropped += uint64(h.n)
	h.ring, h.first, h.n, h.bytes, h.block = nil, 0, 0, 0, nil
}

func packRow(dst []byte, r *row, c *clusterTable) []byte {
	end := r.trimmed()
	if r.wrapped {
		end = len(r.cells)
	}
	var style cell
	blanks := 0
	flush := func() {
		if blanks > 0 {
			dst = binary.AppendUvarint(append(dst, packBlanks), uint64(blanks))
			blanks = 0
		}
	}
	cells := r.cells[:end]
	for i := 0; i < len(cells); i++ {
		v := &cells[i]
		if blanks == 0 {
			n := asciiRun(cells[i:], style)
			dst = appendASCII(dst, cells[i:i+n])
			if i += n; i == len(cells) {
				break
			}
			v = &cells[i]
		}
		if v.attr&attrTail != 0 {
			continue
		}
		if !v.sameStyle(style) {
			flush()
			style = v.styleOf()
			dst = appendStyle(dst, style)
		}
		if v.ch == 0 {
			blanks++
			continue
		}
		if blanks > 0 {
			flush()
		}
		if v.ch < utf8.RuneSelf {
			dst = append(dst, byte(v.ch))
			continue
		}
		dst = packChar(dst, v, c)
	}
	flush()
	return dst
}

// asciiRun is how many cells from the first are ASCII in the given style.
func asciiRun(cells []cell, style cell) int {
	for i := range cells {
		c := &cells[i]
		if c.ch-0x20 >= 0x5f || c.fg != style.fg || c.bg != style.bg || c.ext != style.ext || c.attr != style.attr {
			return i
		}
	}
	return len(cells)
}

func appendASCII(dst []byte, cells []cell) []byte {
	n := len(dst)
	dst = slices.Grow(dst, len(cells))[:n+len(cells)]
	out := dst[n:]
	for i := range cells {
		out[i] = byte(cells[i].ch)
	}
	return dst
}

func packChar(dst []byte, v *cell, c *clusterTable) []byte {
	wide := v.attr&attrWide != 0
	if v.ch&clusterBit == 0 {
		if wide {
			dst = append(dst, packWide)
		}
		return utf8.AppendRune(dst, rune(v.ch))
	}
	w := byte(0)
	if wide {
		w = 1
	}
	s := c.text[v.ch&^clusterBit]
	dst = binary.AppendUvarint(append(dst, packCluster, w), uint64(len(s)))
	return append(dst, s...)
}

func appendStyle(dst []byte, s cell) []byte {
	dst = append(dst, packStyle)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(s.attr))
	dst = binary.LittleEndian.AppendUint16(dst, s.ext)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(s.fg))
	return binary.LittleEndian.AppendUint32(dst, uint32(s.bg))
}

func readStyle(b []byte) cell {
	return cell{
		attr: attr(binary.LittleEndian.Uint16(b)),
		ext:  binary.LittleEndian.Uint16(b[2:]),
		fg:   color(binary.LittleEndian.Uint32(b[4:])),
		bg:   color(binary.LittleEndian.Uint32(b[8:])),
	}
}

// unpack appends the record's cells to dst, interning clusters in c.
func (rec record) unpack(dst []cell, c *clusterTable) []cell {
	var style cell
	put := func(ch uint32, wide bool) {
		v := style
		v.ch = ch
		if !wide {
			dst = append(dst, v)
			return
		}
		v.attr |= attrWide
		dst = append(dst, v)
		v.ch, v.attr = 0, style.attr|attrTail
		dst = append(dst, v)
	}
	wide := false
	for b := rec.data; len(b) > 0; {
		switch b[0] {
		case packStyle:
			style = readStyle(b[1:])
			b = b[13:]
		case packBlanks:
			n, k := binary.Uvarint(b[1:])
			b = b[1+k:]
			for range n {
				dst = append(dst, style)
			}
		case packWide:
			wide = true
			b = b[1:]
		case packCluster:
			n, k := binary.Uvarint(b[2:])
			text := b[2+k : 2+k+int(n)]
			put(c.add(string(text)), b[1] == 1)
			b = b[2+k+int(n):]
		default:
			r, k := utf8.DecodeRune(b)
			put(uint32(r), wide)
			wide = false
			b = b[k:]
		}
	}
	return dst
}

// isPlain reports whether the record is a whole line of ASCII without style
// that fits in cols columns: most are, and their data is what to print.
func (rec record) isPlain(cols int) bool {
	if rec.wrapped || rec.size != lineSingle || len(rec.data) > cols {
		return false
	}
	for _, b := range rec.data {
		if b-0x20 >= 0x5f {
			return false
		}
	}
	return true
}

// markExts marks every ext that the scrollback refers to.
func (h *history) markExts(marked []bool) {
	for i := range h.n {
		for b := h.at(i).data; len(b) > 0; {
			switch b[0] {
			case packStyle:
				marked[readStyle(b[1:]).ext] = true
				b = b[13:]
			case packBlanks:
				_, k := binary.Uvarint(b[1:])
				b = b[1+k:]
			case packCluster:
				n, k := binary.Uvarint(b[2:])
				b = b[2+k+int(n):]
			default:
				b = b[1:]
			}
		}
	}
}

// appendText appends the text of a cell; a blank is a space.
func (c *clusterTable) appendText(dst []byte, ch uint32) []byte {
	switch {
	case ch == 0:
		return append(dst, ' ')
	case ch&clusterBit != 0:
		return append(dst, c.text[ch&^clusterBit]...)
	case ch < utf8.RuneSelf:
		return append(dst, byte(ch))
	}
	return utf8.AppendRune(dst, rune(ch))
}
