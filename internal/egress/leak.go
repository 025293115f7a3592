package egress

import (
	"moat/internal/egress/scrub"
	"moat/internal/policy"
)

// searchedBytes is how much of what a program sends on a connection that is passed through is searched for placeholders.
const searchedBytes = 64 << 10

// mark is what the sandbox holds in the place of a credential.
type mark struct {
	grant string
	set   *scrub.Set
}

func marksOf(grants []Grant) (all []mark) {
	for _, g := range grants {
		if set := scrub.New(g.Placeholders); set != nil {
			all = append(all, mark{g.Name, set})
		}
	}
	return all
}

// leakError says that a placeholder was on its way to somewhere where it does not belong.
type leakError struct{ grant string }

// Error names the grant.
func (e *leakError) Error() string { return "the placeholder of the grant " + e.grant + " was sent" }

func (e *leakError) decision() policy.Decision {
	return policy.Decision{Rule: "leak: placeholder of " + e.grant, Reason: "the placeholder of the grant " + e.grant + " is for its own hosts, over https"}
}

// search looks through the beginning of what a program sends. The nil search finds nothing.
type search struct {
	marks   []mark
	longest int
	left    int
	tail    []byte // the end of what was searched, where a placeholder may have begun
}

func newSearch(marks []mark) *search {
	if len(marks) == 0 {
		return nil
	}
	s := &search{marks: marks, left: searchedBytes}
	for _, m := range marks {
		s.longest = max(s.longest, m.set.Longest())
	}
	return s
}

// look searches the next piece, before it is passed on. The error is a *leakError.
func (s *search) look(piece []byte) error {
	if s == nil || s.left <= 0 || len(piece) == 0 {
		return nil
	}
	piece = piece[:min(len(piece), s.left)]
	s.left -= len(piece)
	text := append(s.tail, piece...)
	for _, m := range s.marks {
		if m.set.Contains(string(text)) {
			return &leakError{m.grant}
		}
	}
	s.tail = append([]byte(nil), text[max(0, len(text)-s.longest+1):]...)
	return nil
}
