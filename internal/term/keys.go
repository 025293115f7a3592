package term

import "bytes"

// Action is a command that a person typed.
type Action uint8

// The commands: the prefix and then d, or k.
const (
	None Action = iota
	Detach
	Stop
)

// Keys finds commands in what a person types. It is for one goroutine.
//
// A command is the prefix, one key or more, and then a key: "d" detaches, "k" stops, the prefix again is one literal
// prefix, any other key passes together with the prefix. A prefix is pending for as long as it takes; there is no
// timer. Each key is recognised as the byte of old and in the newer forms:
//
//	0x1f                       legacy
//	CSI 47;5u                  kitty's keyboard protocol, xterm with formatOtherKeys=1
//	CSI 47:95:47;5:1;47u       the same with alternate keys, event type and text
//	CSI 27;5;47~               xterm's modifyOtherKeys
//
// Caps lock and num lock do not matter. Upper-case keys are no commands. A prefix that is a letter of a layout which is
// not Latin is known by the key's place, where the terminal tells it.
//
// While a prefix is pending, its repeats and its release belong to it: they pass if it passes. What is not a press of a
// key (releases of other keys, presses of modifier keys, mouse, focus, answers of the terminal) passes at once and
// leaves it pending. In a bracketed paste nothing is a command. Where a paste holds the mark of its own end, the last
// one in what is fed at once ends it.
//
// # What is held back
//
// Only the bytes of a pending prefix, and the beginning "ESC [ digit…" of a sequence whose end was not fed yet; no key
// ends like that. ESC and "ESC [" may be whole keys (Escape, Alt-[) and pass at once even if nothing else was fed, and
// so does a prefix that is pending before them. If such a beginning turns out to be a prefix's or a command's, the
// command is carried out all the same, but the program gets this sequence whole (never half of it). Terminals write a
// sequence in one piece, so it takes a cut by the network exactly there.
type Keys struct {
	prefix []byte

	state  state
	seq    []byte // the sequence so far, at most maxSequence bytes
	passed int    // bytes of seq that are passed already; if not 0, the rest passes too
	end    int    // in a paste: how much of pasteEnd was seen

	matched int    // keys of prefix+prefix that were typed
	held    []byte // their bytes, without those that had to pass
	ends    []int  // where each key ends in held

	out []byte // what Feed returns
}

// maxSequence bounds a sequence that may be a key, maxHeld the bytes of a pending prefix: what repeats there after that
// is dropped.
const (
	maxSequence = 64
	maxHeld     = 1024
)

// NewKeys returns a parser for a prefix: the bytes that a terminal sends for its keys in the legacy encoding, such as
// 0x1f for Ctrl-/. It must not begin with ESC. Without a prefix there are no commands.
func NewKeys(prefix []byte) *Keys {
	return &Keys{
		prefix: bytes.Clone(prefix),
		seq:    make([]byte, 0, maxSequence),
		held:   make([]byte, 0, maxHeld),
		ends:   make([]int, 0, 2*len(prefix)),
		out:    make([]byte, 0, 4096),
	}
}

// Feed takes what was typed. It stops after the first command: rest is what follows it, to be fed again if the session
// goes on; without a command rest is empty. pass is to be sent to the program before the command is carried out. It is
// valid until the next call, and may be a part of p.
func (k *Keys) Feed(p []byte) (pass []byte, action Action, rest []byte) {
	k.out = k.out[:0]
	if k.plain(p) {
		return p, None, nil
	}
	for i := 0; i < len(p); {
		if k.state == inPaste {
			i += k.paste(p[i:])
			continue
		}
		if k.state == inText && k.matched == 0 {
			n := k.text(p[i:])
			k.out = append(k.out, p[i:i+n]...)
			if i += n; i == len(p) {
				break
			}
		}
		action = k.step(p[i])
		i++
		if action != None {
			return k.out, action, p[i:]
		}
	}
	k.settle()
	return k.out, None, nil
}

// End returns what was held back when the input has ended.
func (k *Keys) End() []byte {
	k.out = k.out[:0]
	k.giveUp()
	k.passSequence()
	k.state = inText
	return k.out
}

// plain reports whether p passes as it is.
func (k *Keys) plain(p []byte) bool {
	switch k.state {
	case inText:
		return k.matched == 0 && k.text(p) == len(p)
	case inPaste:
		return k.end == 0 && bytes.IndexByte(p, esc) < 0
	}
	return false
}

// text is the length of the text in front of the first byte that may begin something.
func (k *Keys) text(p []byte) int {
	n := bytes.IndexByte(p, esc)
	if n < 0 {
		n = len(p)
	}
	if len(k.prefix) > 0 {
		if m := bytes.IndexByte(p[:n], k.prefix[0]); m >= 0 {
			n = m
		}
	}
	return n
}

// step takes one byte outside a paste.
func (k *Keys) step(b byte) Action {
	for {
		t := transitions[k.state][classOf(b)]
		was := k.state
		k.state = t.next
		switch t.deed {
		case typed:
			return k.press(chord{code: rune(b), legacy: true}, b)
		case begin:
			k.seq, k.passed = append(k.seq[:0], b), 0
			return None
		case collect:
			k.collect(b)
			return None
		case finish:
			k.collect(b)
			return k.finish(was)
		case escaped:
			k.sequence(chord{code: esc, legacy: true})
		case abandon:
			if was != inReport {
				k.giveUp()
			}
			k.passSequence()
		}
	}
}

// collect adds a byte to the sequence. One that is too long for a key is passed on as it comes.
func (k *Keys) collect(b byte) {
	if len(k.seq) == maxSequence {
		k.passSequence()
		if k.state == inParams {
			k.state = inReport
		}
	}
	k.seq = append(k.seq, b)
}

// finish judges a sequence that is complete.
func (k *Keys) finish(was state) Action {
	if was == inReport {
		k.passSequence()
		return None
	}
	event := parseEvent(k.seq)
	switch event.kind {
	case keyPress:
		return k.sequence(event.chord)
	case keyAgain:
		k.again(event.chord)
	case notAKey:
		k.passSequence()
	case pasteStart:
		k.giveUp()
		k.passSequence()
		k.state, k.end = inPaste, 0
	}
	return None
}

// sequence is press for a key that came as a sequence.
func (k *Keys) sequence(c chord) Action {
	if k.passed > 0 {
		k.passSequence()
	}
	action := k.press(c, k.seq...)
	k.seq, k.passed = k.seq[:0], 0
	return action
}

// press takes one key and its bytes, and finds out what it is a part of.
func (k *Keys) press(c chord, unit ...byte) Action {
	n := len(k.prefix)
	for {
		switch {
		case n > 0 && c.sends(k.prefix[k.matched%n]):
			k.held = append(k.held, unit...)
			k.ends = append(k.ends, len(k.held))
			if k.matched++; k.matched == 2*n {
				k.release(n) // the first is the literal; the second only said so
				k.drop()
			}
			return None
		case k.matched == n && n > 0 && c.sends('d'):
			k.drop()
			return Detach
		case k.matched == n && n > 0 && c.sends('k'):
			k.drop()
			return Stop
		case k.matched == 0:
			k.out = append(k.out, unit...)
			return None
		}
		k.fallBack()
	}
}

// fallBack gives up the oldest of the keys that are pending, and keeps what may still begin a prefix.
func (k *Keys) fallBack() {
	n := len(k.prefix)
	keep := 0
	switch {
	case k.matched > n:
		keep = k.matched - n
	case k.matched < n:
		for keep = k.matched - 1; !bytes.HasSuffix(k.prefix[:k.matched], k.prefix[:keep]); keep-- {
		}
	}
	k.release(k.matched - keep)
	k.matched = keep
}

// release passes the first n of the keys that are pending.
func (k *Keys) release(n int) {
	size := k.ends[n-1]
	k.out = append(k.out, k.held[:size]...)
	k.held = append(k.held[:0], k.held[size:]...)
	k.ends = append(k.ends[:0], k.ends[n:]...)
	for i := range k.ends {
		k.ends[i] -= size
	}
}

// again takes a repeat or a release of a key. The pending prefix keeps its own; all others pass.
func (k *Keys) again(c chord) {
	n := len(k.ends)
	if k.passed > 0 || n == 0 || !c.sends(k.prefix[(n-1)%len(k.prefix)]) {
		k.passSequence()
		return
	}
	if len(k.held)+len(k.seq) <= maxHeld {
		k.held = append(k.held, k.seq...)
		k.ends[n-1] = len(k.held)
	}
	k.seq = k.seq[:0]
}

// drop forgets the pending prefix.
func (k *Keys) drop() {
	k.held, k.ends, k.matched = k.held[:0], k.ends[:0], 0
}

// giveUp passes the pending prefix: it was none.
func (k *Keys) giveUp() {
	k.flush()
	k.drop()
}

// flush passes the bytes of the pending prefix, which stays pending.
func (k *Keys) flush() {
	k.out = append(k.out, k.held...)
	k.held = k.held[:0]
	clear(k.ends)
}

// passSequence passes what was not passed of the sequence, and forgets it.
func (k *Keys) passSequence() {
	k.out = append(k.out, k.seq[k.passed:]...)
	k.seq, k.passed = k.seq[:0], 0
}

// settle passes what must not wait for the next call.
func (k *Keys) settle() {
	switch k.state {
	case inEscape, inIntro:
		k.flush()
	case inParams:
		if k.passed == 0 {
			return
		}
	case inReport:
	default:
		return
	}
	k.out = append(k.out, k.seq[k.passed:]...)
	k.passed = len(k.seq)
}

// The marks around a bracketed paste.
const (
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// paste passes what is pasted, and returns how much of p that is.
func (k *Keys) paste(p []byte) int {
	for i := 0; i < len(p); i++ {
		if k.end == 0 {
			n := bytes.IndexByte(p[i:], esc)
			if n < 0 {
				break
			}
			i += n
		}
		switch p[i] {
		case pasteEnd[k.end]:
			k.end++
		case esc:
			k.end = 1
		default:
			k.end = 0
		}
		if k.end == len(pasteEnd) {
			k.end = 0
			if !endsAgain(p[i+1:]) {
				k.state = inText
				k.out = append(k.out, p[:i+1]...)
				return i + 1
			}
		}
	}
	k.out = append(k.out, p...)
	return len(p)
}

// endsAgain reports whether p has the end of a paste before the beginning of one: the end before p was pasted text.
func endsAgain(p []byte) bool {
	end := bytes.Index(p, []byte(pasteEnd))
	return end >= 0 && !bytes.Contains(p[:end], []byte(pasteBegin))
}
