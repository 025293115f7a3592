// Package scrub takes secrets out of what flows by, in each form in which they usually come back.
//
// It promises that no form of a secret is left, however the text is cut into pieces; that what is found is overwritten
// with as many asterisks, so that no length changes; and that a byte is held back only while it may be the beginning of
// a secret. A Stream lets the first bytes of what may become a secret pass (at most three, and an eighth): one byte that
// happens to be a beginning must not stop a conversation. Sets never change and may be used by any number of
// goroutines. Forms are:
// the value itself, percent-encoded (as usual, or every byte), escaped for JSON or HTML, base64 in both alphabets at any
// offset, and hexadecimal in both cases. Other codings (reversed, mixed cases of hexadecimal, base64 broken into lines,
// ciphers) are not recognised; compressed text is left to the caller to unpack.
package scrub

import (
	"bytes"
	"math"
)

// mask overwrites what is found.
const mask = '*'

// Set is what is looked for. The nil Set finds nothing.
//
// The search is that of Wu and Manber (TR-94-17, University of Arizona): two bytes of the text tell how far the next
// place is at which something may end, so most of a text is never looked at.
type Set struct {
	patterns [][]byte
	shortest int // at least 2
	longest  int
	shift    [1 << blockBits]uint8 // by the last two bytes of a window of length shortest: how far it may move on
	ends     [1 << blockBits]span  // where shift is 0: the patterns whose first shortest bytes end so
	ending   []int32               // patterns, as ends refers to them
	starts   [1 << 8][]int32       // patterns by their first byte
}

// span is ending[from:to].
type span struct{ from, to uint32 }

// New makes the Set of all forms of the secrets. Secrets under four bytes are left out: they would be found everywhere.
func New(secrets []string) *Set {
	patterns := forms(secrets)
	if len(patterns) == 0 {
		return nil
	}
	s := &Set{patterns: patterns, shortest: math.MaxUint8}
	for _, p := range patterns {
		s.shortest, s.longest = min(s.shortest, len(p)), max(s.longest, len(p))
	}
	for i := range s.shift {
		s.shift[i] = uint8(s.shortest - 1)
	}
	ending := make(map[uint16][]int32)
	for n, p := range patterns {
		s.starts[p[0]] = append(s.starts[p[0]], int32(n))
		for at := 1; at < s.shortest; at++ {
			b := block(p[at-1], p[at])
			s.shift[b] = min(s.shift[b], uint8(s.shortest-1-at))
		}
		end := block(p[s.shortest-2], p[s.shortest-1])
		ending[end] = append(ending[end], int32(n))
	}
	for end, list := range ending {
		from := uint32(len(s.ending))
		s.ending = append(s.ending, list...)
		s.ends[end] = span{from, uint32(len(s.ending))}
	}
	return s
}

// blockBits keeps the table of shifts in the cache nearest to the processor.
const blockBits = 12

func block(a, b byte) uint16 { return (uint16(a)<<5 ^ uint16(b)) & (1<<blockBits - 1) }

// maxLead is how many bytes of a secret may be seen.
const maxLead = 3

// Longest is the length of the longest form: a Stream never wants as many bytes again.
func (s *Set) Longest() int {
	if s == nil {
		return 0
	}
	return s.longest
}

// Stream takes the secrets of a Set out of one text that comes in pieces. The zero Stream has no Set.
type Stream struct {
	set    *Set
	passed int // of the bytes that come again
}

// Stream begins a text.
func (s *Set) Stream() Stream { return Stream{set: s} }

// Filter overwrites the secrets in the next piece, and says what of it is to be passed on: piece[from:to]. What begins at
// again must come again, in front of the next piece; at the end of the text there is nothing left.
func (s *Stream) Filter(piece []byte, end bool) (from, to, again int) {
	from = s.passed
	again = s.set.filter(piece, end)
	to = again
	if s.set != nil {
		to += min(maxLead, s.set.shortest/8, len(piece)-again)
	}
	to = max(from, to)
	s.passed = to - again
	return from, to, again
}

// filter overwrites the secrets in text and returns how many of its bytes are done with. The rest may be the beginning
// of a secret; at the end of everything there is no rest.
func (s *Set) filter(text []byte, end bool) (done int) {
	if s == nil {
		return len(text)
	}
	for {
		hold := len(text)
		if !end {
			hold = s.beginning(text, done)
		}
		at, length := find(s, text, done)
		if length == 0 || at >= hold {
			return hold
		}
		for i := at; i < at+length; i++ {
			text[i] = mask
		}
		done = at + length
	}
}

// Bytes overwrites the secrets in text. If the text is cut off, so is what may be the beginning of a secret: the rest is
// what to keep.
func (s *Set) Bytes(text []byte, cut bool) (rest []byte) { return text[:s.filter(text, !cut)] }

// String returns text without secrets; it is text itself if there were none.
func (s *Set) String(text string) string {
	if !s.Contains(text) {
		return text
	}
	b := []byte(text)
	s.Bytes(b, false)
	return string(b)
}

// Contains reports whether a secret is in text.
func (s *Set) Contains(text string) bool {
	if s == nil || len(text) < s.shortest {
		return false
	}
	_, length := find(s, text, 0)
	return length > 0
}

// find returns the first place from which on a pattern matches, and the length of the longest that does; 0 if none.
func find[T ~string | ~[]byte](s *Set, text T, from int) (at, length int) {
	for i := from + s.shortest - 1; i < len(text); {
		b := block(text[i-1], text[i])
		if skip := s.shift[b]; skip > 0 {
			i += int(skip)
			continue
		}
		at = i - s.shortest + 1
		here := s.ends[b]
		for _, n := range s.ending[here.from:here.to] {
			p := s.patterns[n]
			if p[0] == text[at] && len(p) > length && len(text)-at >= len(p) && string(text[at:at+len(p)]) == string(p) {
				length = len(p)
			}
		}
		if length > 0 {
			return at, length
		}
		i++
	}
	return 0, 0
}

// beginning returns the first place from which on the whole rest of the text is the beginning of a longer pattern.
func (s *Set) beginning(text []byte, from int) int {
	for at := max(from, len(text)-s.longest+1); at < len(text); at++ {
		rest := text[at:]
		for _, n := range s.starts[text[at]] {
			if p := s.patterns[n]; len(p) > len(rest) && bytes.HasPrefix(p, rest) {
				return at
			}
		}
	}
	return len(text)
}
