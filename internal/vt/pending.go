package vt

import "bytes"

// Ground reports whether the terminal is between two sequences and two
// characters, so that a snapshot alone says everything.
func (t *Terminal) Ground() bool {
	return t.parser.state == stGround && t.parser.nutf == 0
}

// Pending returns the bytes of the sequence or character that has begun and
// not ended, so that the snapshot, these, and what follows make one valid
// stream. Of a string that is too long, only a beginning is left that makes
// every terminal swallow the rest. It is empty in ground state.
func (t *Terminal) Pending() []byte {
	p := &t.parser
	if p.state == stGround {
		return bytes.Clone(p.utf[:p.nutf])
	}
	out := []byte{0x1b}
	if p.state == stEscape {
		return append(out, p.inter[:min(p.ninter, 2)]...)
	}
	if p.state == stCSIIgnore {
		return append(out, "[0$0"...)
	}
	if p.state == stString {
		return p.appendString(out)
	}
	if p.state >= stDCS {
		return p.appendParams(append(out, 'P'))
	}
	return p.appendParams(append(out, '['))
}

func (p *parser) appendString(out []byte) []byte {
	out = append(out, p.kind)
	switch {
	case p.drop && p.kind == ']':
		return append(out, "99999;"...)
	case p.drop && p.kind == 'P':
		return append(out, "0$0"...)
	case p.kind == 'P':
		out = append(p.appendParams(out), p.final)
	}
	if p.drop {
		return out
	}
	return append(out, p.str...)
}

func (p *parser) appendParams(out []byte) []byte {
	if p.prefix != 0 {
		out = append(out, p.prefix)
	}
	out = p.params.append(out)
	if p.params.over {
		out = append(out, ';')
	}
	for i := range p.ninter {
		out = append(out, p.inter[min(i, 1)])
		if i == 3 {
			break
		}
	}
	return out
}
