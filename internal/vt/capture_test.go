package vt

import (
	"strings"
	"unicode/utf8"
)

// wrappedRows tells which rows go on in the next from how capture-pane -J
// joins them.
func wrappedRows(plain, joined []string) []bool {
	out := make([]bool, len(plain))
	j := 0
	for i := 0; i < len(plain) && j < len(joined); j++ {
		have := len(plain[i])
		for i+1 < len(plain) && have < len(joined[j]) && len(plain)-i > len(joined)-j &&
			strings.HasPrefix(joined[j][have:], strings.TrimRight(plain[i+1], " ")) {
			out[i] = true
			i++
			have += len(plain[i])
		}
		i++
	}
	return out
}

// styleUnknown is the style of cells that capture-pane leaves out: nothing was
// printed there, but it may have been erased with a background.
const styleUnknown = "?"

// captureParser reads a line of capture-pane -e: text, SGR, and shifts to DEC
// graphics. The probe turns SGR into a canonical style.
type captureParser struct {
	cols  int
	probe *Terminal
	acs   bool
}

func (p *captureParser) parse(line string) seenRow {
	var row seenRow
	for len(line) > 0 {
		switch {
		case strings.HasPrefix(line, "\x1b["):
			end := strings.IndexByte(line, 'm') + 1
			p.probe.Write([]byte(line[:end]))
			line = line[end:]
		case line[0] == 0x0e, line[0] == 0x0f:
			p.acs = line[0] == 0x0e
			line = line[1:]
		default:
			r, n := utf8.DecodeRuneInString(line)
			p.add(&row, r)
			line = line[n:]
		}
	}
	for len(row) < p.cols {
		row = append(row, seenCell{" ", styleUnknown})
	}
	return row
}

func (p *captureParser) add(row *seenRow, r rune) {
	if p.acs && r < 0x7f {
		c := charsets{g: [4]byte{'0', 'B', 'B', 'B'}}
		r = c.translate(byte(r))
	}
	style := string(appendSGR(nil, p.probe.pen, p.probe.exts.get(p.probe.pen.ext).underline))
	w := runeWidth(r)
	if n := len(*row); w == 0 && n > 0 {
		if (*row)[n-1].Text == "" && n > 1 {
			n--
		}
		(*row)[n-1].Text += string(r)
		return
	}
	*row = append(*row, seenCell{string(r), style})
	if w == 2 {
		*row = append(*row, seenCell{"", style})
	}
}
