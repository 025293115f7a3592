package session

import (
	"math"
	"sort"
)

// maxMarks bounds how far back it is known how many lines had scrolled off.
const maxMarks = 8192

// mark says how many lines had scrolled off when all output before offset was on the screen.
type mark struct {
	offset int64
	lines  uint64
}

// marks are the newest ones, in order.
type marks struct {
	list []mark
	cut  bool // older ones were forgotten
}

// add notes how many lines there are at an offset that is not before the last one.
func (m *marks) add(offset int64, lines uint64) {
	if n := len(m.list); n > 0 && m.list[n-1].lines == lines {
		return
	}
	if len(m.list) == maxMarks {
		m.list = m.list[:copy(m.list, m.list[maxMarks/2:])]
		m.cut = true
	}
	m.list = append(m.list, mark{offset, lines})
}

// lines is how many there were at an offset; more than there can be if that is not known any more.
func (m *marks) lines(offset int64) uint64 {
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].offset > offset })
	switch {
	case i > 0:
		return m.list[i-1].lines
	case m.cut:
		return math.MaxUint64
	default:
		return 0
	}
}
