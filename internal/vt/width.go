package vt

import "github.com/clipperhouse/displaywidth"

// runeWidth is how many columns r takes by itself: 0, 1 or 2. It is the
// library's idea but for code points on which terminals agree with wcwidth
// instead: they look at one code point at a time unless mode 2027 is set.
func runeWidth(r rune) int {
	switch {
	case r >= 0x4e00 && r <= 0x9fff, r >= 0xac00 && r <= 0xd7a3, r >= 0x3041 && r <= 0x3096:
		return 2 // most of what is wide: not worth asking
	case r >= 0x2500 && r <= 0x25a9:
		return 1
	case r == 0xad:
		return 1 // soft hyphen
	case r >= 0x1160 && r <= 0x11ff, r >= 0xd7b0 && r <= 0xd7fb:
		return 0 // medial vowels and final consonants join their syllable
	case r >= 0x1f1e6 && r <= 0x1f1ff:
		return 1 // one regional indicator
	case r == 0x890, r == 0x891,
		r >= 0x2630 && r <= 0x2637, r >= 0x268a && r <= 0x268f, r >= 0x1d300 && r <= 0x1d376:
		return 1 // changed in Unicode 14 and 16; glibc's wcwidth and xterm.js have not followed
	}
	return displaywidth.Rune(r)
}

// clusterWidth is the width of s and whether it is one grapheme cluster.
func clusterWidth(s []byte) (width int, one bool) {
	g := displaywidth.BytesGraphemes(s)
	if !g.Next() {
		return 0, false
	}
	width = g.Width()
	return width, !g.Next()
}
