package term

import "bytes"

// beginImage lets an image pass as it comes when the last byte of its head, which f.seq ends with, was read.
func (f *Filter) beginImage(last byte) bool {
	switch {
	case f.kind == 'P' && last == 'q' && numeric(f.seq[:len(f.seq)-1]):
		f.pass("\x1bP")
	case f.kind == '_' && last == ';' && f.seq[0] == 'G' && f.harmlessImage(f.seq[1:len(f.seq)-1]):
		f.pass("\x1b_")
	default:
		return false
	}
	f.out = append(f.out, f.seq...)
	f.state, f.digits, f.modes.streaming = outStream, 0, true
	return true
}

// stream passes an image. Numbers that are too large end it: sizes and repetitions cost the terminal memory.
func (f *Filter) stream(p []byte) []byte {
	for i, b := range p {
		f.size++
		f.digits++
		if b < '0' || b > '9' || f.kind != 'P' {
			f.digits = 0
		}
		switch {
		case b == esc:
			f.state = outStreamEscape
			return p[i+1:]
		case b == cancel || b == substitute || f.size > maxStream || f.digits > maxDigits:
			f.pass(stringEnd)
			f.modes.streaming = false
			f.state, f.long = outString, true // the rest is not text
			if b == cancel || b == substitute {
				f.state = outText
			}
			return p[i+1:]
		case b >= 0x20 && b < 0x7f:
			f.out = append(f.out, b)
		}
	}
	return nil
}

// harmlessImage reports whether the head of a kitty graphics command (k=v,…) sends what it shows: no files, no shared
// memory, both of which are this machine's.
func (f *Filter) harmlessImage(head []byte) bool {
	for pair := range bytes.SplitSeq(head, []byte(",")) {
		key, value, _ := bytes.Cut(pair, []byte("="))
		switch {
		case len(key) != 1 || !printable(value) || len(value) > 10:
			return false
		case key[0] == 't' && string(value) != "d":
			return false
		case key[0] == 'a' && string(value) == "q" && !f.options.Queries:
			return false
		}
	}
	return true
}

// application judges an APC that is complete and was not streamed: a kitty graphics command without data.
func (f *Filter) application(body []byte) {
	if f.options.Images && len(body) > 1 && body[0] == 'G' && f.harmlessImage(body[1:]) {
		f.pass("\x1b_", string(body), stringEnd)
	}
}
