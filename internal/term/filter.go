package term

import (
	"bytes"
	"unicode/utf8"
)

// Options say what a program may do to this terminal beyond what is always allowed. The zero value allows nothing more.
type Options struct {
	Queries        bool // pass queries: this terminal is the one that answers them
	Colours        bool // set the palette and the default colours
	Clipboard      bool // write the clipboard (never read it)
	Notifications  bool // show desktop notifications
	Images         bool // show sixel and kitty images that are sent inline
	KeepScrollback bool // do not let it erase the terminal's scrollback
}

// Filter lets pass what a program may do to the person's terminal: the rows of docs/terminal-output.md, and nothing
// else. What passes is whole sequences in 7 bits and valid UTF-8, so it cannot mean anything else to the terminal than
// to the filter. Its memory is bounded, and so is every sequence. It is for one goroutine.
type Filter struct {
	options Options
	rules   rules

	out     []byte // being built by Append
	state   outState
	seq     []byte // the sequence so far, without what it begins with
	kind    byte   // of the string: what follows its ESC
	long    bool   // seq is incomplete: the sequence is too long
	size    int    // bytes of the string so far
	digits  int    // of the number that ends what was streamed
	char    [utf8.UTFMax]byte
	charLen int // bytes of a character whose rest did not come yet

	modes, told modes
}

// The bounds of what is kept of a sequence. A string of more than maxString bytes is dropped; one of more than maxStream
// is taken for lost, and what follows is text again.
const (
	maxControl   = 512
	maxString    = 4 << 10
	maxClipboard = 128 << 10
	maxStream    = 8 << 20
)

type outState uint8

const (
	outText         outState = iota
	outEscape                // after ESC, and intermediate bytes
	outControl               // after ESC [
	outString                // in OSC, DCS, APC, PM, SOS or a title of screen's
	outStringEscape          // after ESC in one
	outStream                // in an image, which passes as it comes
	outStreamEscape          // after ESC in one
)

// NewFilter returns a filter for a terminal that is in its normal state.
func NewFilter(options Options) *Filter {
	return &Filter{options: options, rules: newRules(), seq: make([]byte, 0, maxControl)}
}

// SetOptions changes the options for what follows.
func (f *Filter) SetOptions(options Options) { f.options = options }

// Append appends to dst what may pass of p, which may be cut anywhere.
func (f *Filter) Append(dst, p []byte) []byte {
	f.out = dst
	for len(p) > 0 {
		switch f.state {
		case outText:
			p = f.text(p)
		case outString:
			p = f.collectString(p)
		case outStream:
			p = f.stream(p)
		default:
			if f.step(p[0]) {
				p = p[1:]
			}
		}
	}
	dst, f.out = f.out, nil
	return dst
}

// plainBytes are the bytes that pass and leave nothing behind: ASCII, and textControls.
//
//nolint:gochecknoglobals // read-only table
var plainBytes = func() (plain [256]bool) {
	for b := range byte(0x7f) {
		plain[b] = b >= 0x20 || textControls>>b&1 != 0
	}
	return plain
}()

// text passes text, and returns what follows it.
func (f *Filter) text(p []byte) []byte {
	if f.charLen > 0 {
		return f.finishChar(p)
	}
	i := 0
	for {
		for i < len(p) && plainBytes[p[i]] {
			i++
		}
		if i == len(p) || p[i] < 0xc2 {
			break
		}
		r, n := utf8.DecodeRune(p[i:])
		if n == 1 || r < 0xa0 {
			break
		}
		i += n
	}
	f.out = append(f.out, p[:i]...)
	if i == len(p) {
		return nil
	}
	switch b := p[i]; {
	case b == esc:
		return f.escape(p[i+1:])
	case b < 0x80:
		f.control(b)
	case b >= 0xc2 && b <= 0xf4:
		f.char[0], f.charLen = b, 1
	default:
		f.out = utf8.AppendRune(f.out, utf8.RuneError)
	}
	return p[i+1:]
}

// finishChar takes one byte of a character that was cut or is not valid. The longest beginning of a character becomes
// one U+FFFD (Unicode 3.9, "U+FFFD Substitution of Maximal Subparts").
func (f *Filter) finishChar(p []byte) []byte {
	if !continues(f.char[:f.charLen], p[0]) {
		f.out, f.charLen = utf8.AppendRune(f.out, utf8.RuneError), 0
		return p
	}
	f.char[f.charLen] = p[0]
	f.charLen++
	if utf8.FullRune(f.char[:f.charLen]) {
		if r, _ := utf8.DecodeRune(f.char[:f.charLen]); r >= 0xa0 { // below are the C1 controls
			f.out = utf8.AppendRune(f.out, r)
		}
		f.charLen = 0
	}
	return p[1:]
}

// continues reports whether b may follow the beginning of a character (Unicode table 3-7).
func continues(begun []byte, b byte) bool {
	low, high := byte(0x80), byte(0xbf)
	if len(begun) == 1 {
		switch begun[0] {
		case 0xe0:
			low = 0xa0
		case 0xed:
			high = 0x9f
		case 0xf0:
			low = 0x90
		case 0xf4:
			high = 0x8f
		}
	}
	return b >= low && b <= high
}

// control passes a control character if it may.
func (f *Filter) control(b byte) {
	switch {
	case textControls>>b&1 != 0:
		f.out = append(f.out, b)
	case b == shiftOut || b == shiftIn:
		f.out = append(f.out, b)
		f.modes.shift = b == shiftOut
	}
}

// escape begins a sequence, and passes at once one that is whole in p.
func (f *Filter) escape(p []byte) []byte {
	if len(p) > 0 && p[0] == '[' {
		for i := 1; i < len(p) && i < maxControl; i++ {
			switch b := p[i]; {
			case b >= 0x40 && b < 0x7f:
				f.controlSequence(p[1 : i+1])
				return p[i+1:]
			case b < 0x20 || b >= 0x40:
				f.begin(outEscape)
				return p
			}
		}
	}
	f.begin(outEscape)
	return p
}

func (f *Filter) begin(s outState) {
	f.state, f.seq, f.long, f.size = s, f.seq[:0], false, 0
}

// step takes a byte inside a sequence that is cut or unusual. It reports false if b is to be looked at anew.
func (f *Filter) step(b byte) bool {
	switch f.state {
	case outStringEscape, outStreamEscape:
		return f.afterString(b)
	}
	switch {
	case b == esc:
		f.begin(outEscape)
	case b == cancel || b == substitute:
		f.state = outText
	case b < 0x20:
		f.control(b) // a terminal carries it out in the middle of the sequence
	case b == 0x7f:
	case b > 0x7f:
		f.state = outText
		return false
	case f.state == outControl:
		f.inControl(b)
	default:
		f.inEscape(b)
	}
	return true
}

func (f *Filter) inControl(b byte) {
	if len(f.seq) >= maxControl {
		f.long = true
	} else {
		f.seq = append(f.seq, b)
	}
	if b >= 0x40 {
		f.state = outText
		if !f.long {
			f.controlSequence(f.seq)
		}
	}
}

func (f *Filter) inEscape(b byte) {
	if len(f.seq) == 0 {
		switch b {
		case '[':
			f.begin(outControl)
			return
		case ']', 'P', '_', '^', 'X', 'k':
			f.begin(outString)
			f.kind = b
			return
		}
	}
	if len(f.seq) < maxControl {
		f.seq = append(f.seq, b)
	}
	if b >= 0x30 {
		f.state = outText
		f.escapeSequence(f.seq)
	}
}

// collectString takes a string until its end, and returns what follows.
func (f *Filter) collectString(p []byte) []byte {
	for i, b := range p {
		f.size++
		switch {
		case b == esc:
			f.state = outStringEscape
			return p[i+1:]
		case b == cancel || b == substitute || f.size > maxStream:
			f.state = outText
			return p[i+1:]
		case b == bell && f.kind == ']':
			f.state = outText
			f.endString("\a")
			return p[i+1:]
		case f.long:
		case len(f.seq) >= f.stringLimit():
			f.long = true
		default:
			f.seq = append(f.seq, b)
			if f.options.Images && f.beginImage(b) {
				return p[i+1:]
			}
		}
	}
	return nil
}

// stringLimit is how much is kept of a string.
func (f *Filter) stringLimit() int {
	if f.options.Clipboard && f.kind == ']' && bytes.HasPrefix(f.seq, []byte("52;")) {
		return maxClipboard
	}
	return maxString
}

// afterString takes what follows an ESC in a string: it ends with ESC \, and any other ESC breaks it off.
func (f *Filter) afterString(b byte) bool {
	streaming := f.state == outStreamEscape
	if streaming {
		f.out = append(f.out, stringEnd...)
		f.modes.streaming = false
	}
	if b != '\\' {
		f.begin(outEscape)
		return false
	}
	f.state = outText
	if !streaming {
		f.endString(stringEnd)
	}
	return true
}

// endString judges a string that is complete.
func (f *Filter) endString(end string) {
	body := f.seq
	if cap(f.seq) > 2*maxString {
		f.seq = make([]byte, 0, maxControl) // a clipboard; it is rare
	}
	if f.long && bytes.HasPrefix(body, []byte("8;")) {
		body = []byte("8;;") // a link that is too long ends the one before it, as others that may not pass
	} else if f.long {
		body = nil
	}
	switch f.kind {
	case ']':
		f.command(body, end)
	case 'P':
		f.deviceControl(body, end)
	case '_':
		f.application(body)
	}
}

// pass passes the parts as they are.
func (f *Filter) pass(parts ...string) {
	for _, part := range parts {
		f.out = append(f.out, part...)
	}
}

// Changed reports whether the bytes of Undo may be others than those of its last call.
func (f *Filter) Changed() bool { return f.modes != f.told }

// Undo returns the bytes that give the terminal back: they switch off what the output has switched on and did not
// switch off itself, and nothing else. The state of the filter stays as it is; after the terminal was given back, what
// may follow needs a new filter.
func (f *Filter) Undo() []byte {
	f.told = f.modes
	var b []byte
	if f.modes.streaming {
		b = append(b, stringEnd...)
	}
	return f.modes.undo(b, f.rules.undone)
}
