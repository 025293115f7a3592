package term

import "strconv"

// The sequences of the terminal's stack of titles (xterm), and how much of it and of kitty's stack of keyboard modes,
// of which terminals keep about ten, a program may use.
const (
	pushTitle, popTitle     = "\x1b[22;0t", "\x1b[23;0t"
	maxTitles, maxKeyboards = 5, 5
)

// modes is how the terminal differs from the state it was in. Comparable, so that a change is seen.
type modes struct {
	switched  uint64 // bit i: rule i of those that are undone is not as it was
	alternate int    // the mode that shows the alternate screen now: 47, 1047 or 1049; 0: it is not shown
	keyboards [2]struct {
		depth uint8 // modes pushed
		base  bool  // the mode below them was set
	}
	rendition
	saved      rendition // what may come back with a saved cursor
	region     [2]bool   // main, alternate
	rectangles bool
	tabs       bool
	keypad     bool
	otherKeys  bool
	shape      bool
	link       bool
	progress   bool
	titled     bool  // the person's title is on the stack
	titles     uint8 // of the program's, above it
	palette    [4]uint64
	colours    [3]bool // text, background, cursor
	streaming  bool    // an image was begun
}

// rendition is what the terminal saves and restores together with its cursor.
type rendition struct {
	style     bool
	protected bool
	origin    bool
	shift     bool    // G0 is not the set in use
	sets      [4]bool // G0-G3
}

// add returns what is changed in either.
func (r rendition) add(other rendition) rendition {
	for i, set := range other.sets {
		r.sets[i] = r.sets[i] || set
	}
	r.style, r.protected = r.style || other.style, r.protected || other.protected
	r.origin, r.shift = r.origin || other.origin, r.shift || other.shift
	return r
}

// screen is 1 for the alternate screen and else 0.
func (m *modes) screen() int {
	if m.alternate != 0 {
		return 1
	}
	return 0
}

// set notes that a mode was set or reset.
func (m *modes) set(r *rule, number int, on bool) {
	switch number {
	case 47, 1047, 1049:
		m.alternate = 0
		if on {
			m.alternate = number
		}
	case 12:
		m.shape = true
	case 66:
		m.keypad = m.keypad || on // not all terminals take the one for the other
	case 6:
		m.origin = on
	}
	if r.undo == 0 {
		return
	}
	m.switched &^= 1 << (r.undo - 1)
	if on != r.initially {
		m.switched |= 1 << (r.undo - 1)
	}
}

// undo appends what gives the terminal back. undone are the modes with a bit in switched.
func (m *modes) undo(b []byte, undone []*rule) []byte {
	if m.link {
		b = append(b, "\x1b]8;;\x1b\\"...)
	}
	b = m.switchBack(b, undone, true)
	b = m.leaveScreens(b)
	r := m.rendition
	if m.alternate == 1049 {
		r = r.add(m.saved) // it restored the cursor
	}
	if r.origin {
		b = append(b, "\x1b[?6l\x1b[9999H"...) // the cursor's place is lost: to the end of the screen
	}
	for _, d := range []struct {
		dirty bool
		undo  string
	}{
		{r.style, "\x1b[m"}, {r.protected, "\x1b[0\"q"}, {m.rectangles, "\x1b[0*x"},
		{r.sets[0], "\x1b(B"}, {r.sets[1], "\x1b)B"}, {r.sets[2], "\x1b*B"}, {r.sets[3], "\x1b+B"}, {r.shift, "\x0f"},
		{m.keypad, "\x1b>"}, {m.otherKeys, "\x1b[>4m"}, {m.shape, "\x1b[0 q"}, {m.tabs, "\x1b[?5W"},
		{m.progress, "\x1b]9;4;0\x1b\\"},
		{m.colours[0], "\x1b]110\x1b\\"}, {m.colours[1], "\x1b]111\x1b\\"}, {m.colours[2], "\x1b]112\x1b\\"},
	} {
		if d.dirty {
			b = append(b, d.undo...)
		}
	}
	if m.anyRegion() {
		b = append(b, "\x1b7\x1b[r\x1b8"...) // it moves the cursor
	}
	b = m.switchBack(b, undone, false)
	if m.saved != (rendition{}) || m.hidden() && m.rendition != (rendition{}) {
		b = append(b, "\x1b7"...) // nor may they come back with the cursor later
	}
	b = m.resetPalette(b)
	if m.titled {
		for range m.titles + 1 {
			b = append(b, popTitle...)
		}
	}
	return b
}

// switchBack undoes the modes that matter to the cursor, which come first, or the others.
func (m *modes) switchBack(b []byte, undone []*rule, first bool) []byte {
	for i, r := range undone {
		if m.switched>>i&1 != 0 && r.first == first {
			b = append(b, "\x1b["...)
			if r.private {
				b = append(b, '?')
			}
			b = append(b, r.keys...)
			b = append(b, map[bool]byte{true: 'h', false: 'l'}[r.initially])
		}
	}
	return b
}

// anyRegion reports whether a scroll region is set; some terminals have one for both screens.
func (m *modes) anyRegion() bool { return m.region[0] || m.region[1] }

// hidden reports whether the alternate screen was left, and something was left there.
func (m *modes) hidden() bool {
	k := m.keyboards[1]
	return m.alternate == 0 && (k.depth > 0 || k.base || m.region[1])
}

// leaveScreens gives back what both screens have of their own, and shows the main one.
func (m *modes) leaveScreens(b []byte) []byte {
	switch {
	case m.alternate != 0:
		if m.anyRegion() {
			b = append(b, "\x1b[r"...)
		}
		b = m.resetKeyboard(b, 1)
		b = append(b, "\x1b[?"...)
		b = strconv.AppendInt(b, int64(m.alternate), 10)
		b = append(b, 'l')
	case m.hidden():
		b = append(b, "\x1b[?1049h"...) // the only way to what the other screen has
		if m.region[1] {
			b = append(b, "\x1b[r"...)
		}
		b = m.resetKeyboard(b, 1)
		b = append(b, "\x1b[?1049l"...)
	}
	return m.resetKeyboard(b, 0)
}

func (m *modes) resetKeyboard(b []byte, screen int) []byte {
	k := m.keyboards[screen]
	if k.depth > 0 {
		b = append(b, "\x1b[<"...)
		b = strconv.AppendUint(b, uint64(k.depth), 10)
		b = append(b, 'u')
	}
	if k.base {
		b = append(b, "\x1b[=0u"...)
	}
	return b
}

func (m *modes) resetPalette(b []byte) []byte {
	if m.palette == [4]uint64{} {
		return b
	}
	b = append(b, "\x1b]104"...)
	for i := range 256 {
		if m.palette[i/64]>>(i%64)&1 != 0 {
			b = append(b, ';')
			b = strconv.AppendInt(b, int64(i), 10)
		}
	}
	return append(b, stringEnd...)
}
