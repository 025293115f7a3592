package term

import (
	"bytes"
	"strconv"
)

const (
	bell, shiftOut, shiftIn, cancel, substitute = 0x07, 0x0e, 0x0f, 0x18, 0x1a

	// textControls are the control characters that pass and leave nothing behind: BEL BS HT LF VT FF CR.
	textControls = 1<<bell | 1<<'\b' | 1<<'\t' | 1<<'\n' | 1<<'\v' | 1<<'\f' | 1<<'\r'

	stringEnd = "\x1b\\"
	maxDigits = 5 // of a number: what is larger costs the terminal time or memory
)

// sequence is one ESC or CSI sequence, without ESC or ESC [.
type sequence struct {
	body   []byte // whole
	params []byte // of a CSI: between the private mark and the intermediate bytes
	final  byte
}

// first is the first parameter, or fallback if it is missing; -1 if it is no number.
func (s sequence) first(fallback int) int {
	text, _, _ := bytes.Cut(s.params, []byte(";"))
	if len(text) == 0 {
		return fallback
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return -1
	}
	return n
}

// passControl passes a CSI as it is.
func (f *Filter) passControl(s sequence) {
	f.out = append(append(f.out, esc, '['), s.body...)
}

// passEscape passes an ESC sequence as it is.
func (f *Filter) passEscape(s sequence) {
	f.out = append(f.out, esc)
	f.out = append(f.out, s.body...)
}

// controlSequence judges a CSI: body is what follows ESC [.
func (f *Filter) controlSequence(body []byte) {
	last := len(body) - 1
	s := sequence{body: body, final: body[last]}
	begin, end := 0, last
	for end > 0 && body[end-1] < 0x30 {
		end--
	}
	var mark byte
	if end > 0 && body[0] >= '<' {
		mark, begin = body[0], 1
	}
	s.params = body[begin:end]
	if last-end > 1 || !numeric(s.params) {
		return
	}
	if mark == 0 && end == last {
		f.rules.plain[s.final].judge(f, s)
		return
	}
	var between byte
	if end < last {
		between = body[end]
	}
	f.rules.marked[[3]byte{mark, between, s.final}].judge(f, s)
}

// numeric reports whether text is numbers, none of them too large, with separators.
func numeric(text []byte) bool {
	run := 0
	for _, b := range text {
		run++
		if b == ';' || b == ':' {
			run = 0
		} else if b < '0' || b > '9' || run > maxDigits {
			return false
		}
	}
	return true
}

// escapeSequence judges what follows ESC.
func (f *Filter) escapeSequence(body []byte) {
	f.rules.escapes[string(body)].judge(f, sequence{body: body, final: body[len(body)-1]})
}

// judge does what the rule says; no rule drops.
func (r *rule) judge(f *Filter, s sequence) {
	if r == nil || !r.permit.granted(f.options) {
		return
	}
	if r.do != nil {
		r.do(f, s)
	} else {
		f.passControl(s)
	}
}

// setModes passes those of the modes in the list that may be set and reset.
func setModes(known map[int]*rule) func(*Filter, sequence) {
	return func(f *Filter, s sequence) {
		begin := len(f.out)
		f.pass("\x1b[")
		if s.body[0] == '?' {
			f.pass("?")
		}
		head := len(f.out)
		for text := range bytes.SplitSeq(s.params, []byte(";")) {
			number, err := strconv.Atoi(string(text))
			r := known[number]
			if err != nil || r == nil || !r.permit.granted(f.options) {
				continue
			}
			if len(f.out) > head {
				f.out = append(f.out, ';')
			}
			f.out = strconv.AppendInt(f.out, int64(number), 10)
			f.modes.set(r, number, s.final == 'h')
			if number == 1048 || number == 1049 {
				f.cursor(s.final == 'h')
			}
		}
		if len(f.out) == head {
			f.out = f.out[:begin]
			return
		}
		f.out = append(f.out, s.final)
	}
}

// zero reports whether all parameters are 0 or missing.
func zero(params []byte) bool {
	for _, b := range params {
		if b != '0' && b != ';' {
			return false
		}
	}
	return true
}

// cursor notes that the cursor was saved or restored. What was ever saved may come back.
func (f *Filter) cursor(save bool) {
	if save {
		f.modes.saved = f.modes.saved.add(f.modes.rendition)
	} else {
		f.modes.rendition = f.modes.add(f.modes.saved)
	}
}

// saveCursor passes DECSC and SCOSC (which is DECSLRM where margins are on), DECRC and SCORC.
func saveCursor(f *Filter, s sequence) {
	if s.final == 's' || s.final == 'u' {
		f.passControl(s)
	} else {
		f.passEscape(s)
	}
	f.cursor(s.final == '7' || s.final == 's')
}

// style passes SGR.
func style(f *Filter, s sequence) {
	f.passControl(s)
	f.modes.style = !zero(s.params)
}

// region passes DECSTBM.
func region(f *Filter, s sequence) {
	f.passControl(s)
	f.modes.region[f.modes.screen()] = len(s.params) > 0
}

// cursorShape passes DECSCUSR. 0 is the person's own.
func cursorShape(f *Filter, s sequence) {
	f.passControl(s)
	f.modes.shape = s.first(0) != 0
}

// protection passes DECSCA.
func protection(f *Filter, s sequence) {
	f.passControl(s)
	f.modes.protected = s.first(0) == 1
}

// rectangles passes DECSACE.
func rectangles(f *Filter, s sequence) {
	f.passControl(s)
	f.modes.rectangles = s.first(0) == 2
}

// tabs passes what sets or clears tab stops.
func tabs(f *Filter, s sequence) {
	if s.final == 'H' {
		f.passEscape(s)
	} else {
		f.passControl(s)
	}
	f.modes.tabs = s.final != 'W'
}

// erase passes ED, and the erasure of the scrollback if the person wants that.
func erase(f *Filter, s sequence) {
	if s.first(0) != 3 || !f.options.KeepScrollback {
		f.passControl(s)
	}
}

// fullReset does to the program's own doings what RIS would do to all.
func fullReset(f *Filter, _ sequence) {
	f.out = f.modes.undo(f.out, f.rules.undone)
	f.modes = modes{saved: f.modes.saved}
	f.pass("\x1b[!p\x1b[2J\x1b[H")
}

// otherKeys passes modifyOtherKeys; the other resources of XTMODKEYS are the person's.
func otherKeys(f *Filter, s sequence) {
	_, value, set := bytes.Cut(s.params, []byte(";"))
	if s.first(0) == 4 && bytes.IndexByte(s.params, ':') < 0 {
		f.passControl(s)
		f.modes.otherKeys = set && !zero(value)
	}
}

// oneOf passes a sequence with one of the parameters.
func oneOf(fallback int, allowed ...int) func(*Filter, sequence) {
	return func(f *Filter, s sequence) {
		for _, a := range allowed {
			if s.first(fallback) == a && !bytes.ContainsAny(s.params, ";:") {
				f.passControl(s)
			}
		}
	}
}

// window passes the few harmless operations of CSI t. Titles are kept on the terminal's stack, below them the person's
// own: no more come off than were put on.
func window(f *Filter, s sequence) {
	switch s.first(0) {
	case 14, 16, 18:
		if f.options.Queries && bytes.IndexByte(s.params, ';') < 0 {
			f.passControl(s)
		}
	case 22:
		if f.modes.titles < maxTitles {
			f.saveTitle()
			f.modes.titles++
			f.pass(pushTitle)
		}
	case 23:
		if f.modes.titles > 0 {
			f.modes.titles--
			f.pass(popTitle)
		}
	}
}

// saveTitle puts the person's title on the terminal's stack before the first change.
func (f *Filter) saveTitle() {
	if !f.modes.titled {
		f.modes.titled = true
		f.pass(pushTitle)
	}
}

// keyboard passes kitty's keyboard protocol. Each screen has its own stack; no more comes off it than was put on.
func keyboard(f *Filter, s sequence) {
	k := &f.modes.keyboards[f.modes.screen()]
	flags := s.first(0)
	if flags < 0 || flags > 0xff || bytes.IndexByte(s.params, ':') >= 0 {
		return
	}
	switch {
	case s.body[0] == '<':
		n := min(max(s.first(1), 1), int(k.depth))
		if n > 0 {
			k.depth -= uint8(n)
			f.pass("\x1b[<", strconv.Itoa(n), "u")
		}
	case s.body[0] == '>' && k.depth < maxKeyboards:
		k.depth++
		f.passControl(s)
	case s.body[0] == '>':
		f.pass("\x1b[=", strconv.Itoa(flags), "u")
	default:
		k.base = k.base || k.depth == 0
		f.passControl(s)
	}
}

// keypad passes DECKPAM and DECKPNM.
func keypad(f *Filter, s sequence) {
	f.passEscape(s)
	f.modes.keypad = s.final == '='
}

// charset passes the designation of a character set to G0-G3.
func charset(f *Filter, s sequence) {
	f.passEscape(s)
	f.modes.sets[s.body[0]-'('] = s.final != 'B'
}

// lockingShift passes LS2 and LS3.
func lockingShift(f *Filter, s sequence) {
	f.passEscape(s)
	f.modes.shift = true
}
