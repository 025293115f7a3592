package vt

import (
	"fmt"
	"strconv"
	"strings"
)

// colorSet is what the program set by OSC 4 and OSC 10-19, as X colour
// specifications in the form rgb:rrrr/gggg/bbbb; empty means the default.
type colorSet struct {
	palette map[int]string // at most 256 entries
	dynamic [10]string     // OSC 10-19
}

// parseColor turns an X colour specification into rgb:rrrr/gggg/bbbb. Colour
// names are refused: which they are depends on the terminal. #rgb is scaled as
// rgb:r/g/b is, which is what terminals report.
func parseColor(s string) (string, bool) {
	var parts []string
	if rest, ok := strings.CutPrefix(s, "rgb:"); ok {
		if parts = strings.Split(rest, "/"); len(parts) != 3 {
			return "", false
		}
	} else if rest, ok := strings.CutPrefix(s, "#"); ok {
		n := len(rest) / 3
		if n < 1 || n > 4 || len(rest) != 3*n {
			return "", false
		}
		parts = []string{rest[:n], rest[n : 2*n], rest[2*n:]}
	} else {
		return "", false
	}
	var v [3]uint64
	for i, h := range parts {
		x, err := strconv.ParseUint(h, 16, 16)
		if err != nil || len(h) > 4 {
			return "", false
		}
		full := uint64(1)<<(4*len(h)) - 1
		v[i] = x * 0xffff / full
	}
	return fmt.Sprintf("rgb:%04x/%04x/%04x", v[0], v[1], v[2]), true
}

func rgbSpec(c uint32) string {
	r, g, b := c>>16&255, c>>8&255, c&255
	return fmt.Sprintf("rgb:%02x%02x/%02x%02x/%02x%02x", r, r, g, g, b, b)
}

// paletteRGB is xterm's default for palette entry i.
func paletteRGB(i int) uint32 {
	base := [16]uint32{
		0x000000, 0xcd0000, 0x00cd00, 0xcdcd00, 0x0000ee, 0xcd00cd, 0x00cdcd, 0xe5e5e5,
		0x7f7f7f, 0xff0000, 0x00ff00, 0xffff00, 0x5c5cff, 0xff00ff, 0x00ffff, 0xffffff,
	}
	switch {
	case i < 16:
		return base[i]
	case i >= 232:
		return uint32(8+10*(i-232)) * 0x010101
	}
	level := func(n int) uint32 {
		if n == 0 {
			return 0
		}
		return uint32(55 + 40*n)
	}
	i -= 16
	return level(i/36)<<16 | level(i/6%6)<<8 | level(i%6)
}

// setPalette is OSC 4 ; index ; spec ; …, where ? asks.
func (t *Terminal) setPalette(s string) {
	f := strings.Split(s, ";")
	for i := 0; i+1 < len(f); i += 2 {
		n, err := strconv.Atoi(f[i])
		if err != nil || n < 0 || n > 255 {
			continue
		}
		if f[i+1] == "?" {
			spec, ok := t.colors.palette[n]
			if !ok {
				spec = rgbSpec(paletteRGB(n))
			}
			t.replyOSC("4;%d;%s", n, spec)
			continue
		}
		if spec, ok := parseColor(f[i+1]); ok {
			if t.colors.palette == nil {
				t.colors.palette = make(map[int]string)
			}
			t.colors.palette[n] = spec
		}
	}
}

// resetPalette is OSC 104: all entries or those listed.
func (t *Terminal) resetPalette(s string) {
	if s == "" {
		t.colors.palette = nil
		return
	}
	for f := range strings.SplitSeq(s, ";") {
		if n, err := strconv.Atoi(f); err == nil {
			delete(t.colors.palette, n)
		}
	}
}

// setDynamicColors is OSC 10-19: each further value is for the next number.
func (t *Terminal) setDynamicColors(n int, s string) {
	for spec := range strings.SplitSeq(s, ";") {
		if n > 19 {
			return
		}
		if spec == "?" {
			if v := t.dynamicColor(n); v != "" {
				t.replyOSC("%d;%s", n, v)
			}
		} else if v, ok := parseColor(spec); ok {
			t.colors.dynamic[n-10] = v
		}
		n++
	}
}

// dynamicColor is the value of OSC n, empty where we have none to tell.
func (t *Terminal) dynamicColor(n int) string {
	if v := t.colors.dynamic[n-10]; v != "" {
		return v
	}
	switch n {
	case 10, 13, 15:
		return rgbSpec(t.opts.Foreground)
	case 11, 14, 16:
		return rgbSpec(t.opts.Background)
	case 12:
		return rgbSpec(t.opts.CursorColor)
	}
	return ""
}
