package term

import (
	"strings"
	"unicode/utf8"
)

const esc = 0x1b

// chord is a key with its modifiers.
type chord struct {
	code    rune // the key without modifiers (kitty) or with shift (xterm), or the byte that it sends
	shifted rune // with shift, 0 if it is not told
	base    rune // on a US keyboard, 0 if it is not told
	mods    int
	legacy  bool // code is the byte that it sends
}

// The modifiers, as bits of the parameter minus one. Those that are not named are alt, super, hyper and meta.
const (
	modShift = 1
	modCtrl  = 4
	modLocks = 64 | 128 // caps lock, num lock
)

// controls is what is pressed together with Ctrl for each control character (the table "legacy ctrl mapping" of kitty's
// keyboard protocol, which follows xterm).
//
//nolint:gochecknoglobals // read-only table
var controls = [0x20]string{
	0x00: " @2", 0x1b: "[3", 0x1c: `\4`, 0x1d: "]5", 0x1e: "^~6", 0x1f: "/_7",
}

// sends reports whether the key sends the byte b where nothing but bytes is sent.
func (c chord) sends(b byte) bool {
	if c.legacy {
		return c.code == rune(b)
	}
	code, shift := c.code, c.mods&modShift != 0
	switch {
	case shift && c.shifted != 0:
		code = c.shifted
	case code > 0x7f && c.base != 0:
		code = c.base
	}
	switch c.mods &^ (modLocks | modShift) {
	case 0:
		if shift && code >= 'a' && code <= 'z' {
			code -= 'a' - 'A'
		}
		return code == rune(b)
	case modCtrl:
		return b < 0x20 && withCtrl(code, shift, b)
	}
	return false
}

// withCtrl reports whether Ctrl and the key send b. Shift matters for letters only: elsewhere layouts need it.
func withCtrl(code rune, shift bool, b byte) bool {
	if code >= 'A' && code <= 'Z' {
		code += 'a' - 'A' // xterm, with caps lock or shift
	}
	if code >= 'a' && code <= 'z' {
		return !shift && rune(b) == code&0x1f
	}
	if shift && code == '-' {
		code = '_' // on a US keyboard, from a terminal that does not tell the shifted key
	}
	return code <= 0x7f && strings.ContainsRune(controls[b], code)
}

// The kinds of sequences that a terminal sends.
type eventKind uint8

const (
	keyPress   eventKind = iota // a key that may be a command, or anything that ends a pending prefix
	keyAgain                    // a repeat or a release
	notAKey                     // mouse, focus, an answer, a modifier key
	pasteStart                  // the beginning of a bracketed paste
)

type event struct {
	kind eventKind
	chord
}

// parseEvent judges a sequence that begins with ESC [ and has no private mark.
func parseEvent(seq []byte) event {
	final := seq[len(seq)-1]
	p := parseFields(seq[2 : len(seq)-1])
	mods, kind := max(p[1][0], 1)-1, p[1][1]
	switch {
	case final == '~' && p[0][0] == 200:
		return event{kind: pasteStart}
	case final == '~' && p[0][0] == 27:
		return event{chord: chord{code: rune(p[2][0]), mods: mods}}
	case final == 'u' && modifierKey(p[0][0]):
		return event{kind: notAKey}
	case final == 'u':
		c := chord{code: rune(p[0][0]), shifted: rune(p[0][1]), base: rune(p[0][2]), mods: mods}
		if kind > 1 {
			return event{kind: keyAgain, chord: c}
		}
		return event{chord: c}
	case report(seq, final, p[0][0]):
		return event{kind: notAKey}
	case kind == 3:
		return event{kind: notAKey} // the release of a function key
	}
	return event{chord: chord{code: -1}}
}

// parseFields reads the first three parameters and of each the first three parts (a;b:c:d;e). What is missing, not a
// number is 0, and what is too large is no character.
func parseFields(text []byte) (fields [3][3]int) {
	field, part := 0, 0
	for _, b := range text {
		switch {
		case b == ';':
			field, part = field+1, 0
		case b == ':':
			part++
		case field < 3 && part < 3 && b >= '0' && b <= '9':
			fields[field][part] = min(fields[field][part]*10+int(b-'0'), utf8.MaxRune+1)
		}
	}
	return fields
}

// modifierKey reports whether code is a lock or a modifier in kitty's table of functional keys.
func modifierKey(code int) bool {
	return code >= 57358 && code <= 57360 || code >= 57441 && code <= 57454
}

// report reports whether the terminal says something by itself: focus, or the answer to a query. "CSI 1;… R" is F3 with
// modifiers rather than a cursor in the first line.
func report(seq []byte, final byte, first int) bool {
	switch final {
	case 'I', 'O':
		return len(seq) == 3
	case 'R':
		return first > 1
	case 'c', 'n', 't', 'x', 'y':
		return true
	}
	return false
}
