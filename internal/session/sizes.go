package session

import (
	"slices"

	"moat/internal/journal"
)

// Policy says whose terminal's size the run's terminal has.
type Policy int

// Policies.
const (
	Latest   Policy = iota // the client's that typed, resized or attached last
	Smallest               // the smallest of all, in each direction
)

// Sizes decides how large a run's terminal is while clients with terminals of their own come and go. Clients that only
// watch take no part. It is for one goroutine at a time.
type Sizes struct {
	policy  Policy
	clients []sized // the one that was active last is the last
}

type sized struct {
	client any
	size   journal.Size
}

// NewSizes returns the decider of a run to which nobody is attached.
func NewSizes(p Policy) *Sizes { return &Sizes{policy: p} }

// Active says that a client attached, typed or resized its terminal. A zero size means that it is as it was.
func (z *Sizes) Active(client any, size journal.Size) {
	i := slices.IndexFunc(z.clients, func(s sized) bool { return s.client == client })
	now := sized{client, size}
	if i >= 0 {
		if size == (journal.Size{}) {
			now.size = z.clients[i].size
		}
		z.clients = slices.Delete(z.clients, i, i+1)
	}
	z.clients = append(z.clients, now)
}

// Left says that a client went away.
func (z *Sizes) Left(client any) {
	z.clients = slices.DeleteFunc(z.clients, func(s sized) bool { return s.client == client })
}

// Leader is the client that was active last, whose terminal answers the command's questions; nil if there is none.
func (z *Sizes) Leader() any {
	if len(z.clients) == 0 {
		return nil
	}
	return z.clients[len(z.clients)-1].client
}

// Want is the size that the run's terminal should have; false if there is nobody to say, and it stays as it is.
func (z *Sizes) Want() (journal.Size, bool) {
	var want journal.Size
	for _, c := range z.clients {
		switch {
		case c.size.Rows == 0 || c.size.Cols == 0:
			continue
		case z.policy == Latest || want == journal.Size{}:
			want = c.size
		default:
			want = journal.Size{Rows: min(want.Rows, c.size.Rows), Cols: min(want.Cols, c.size.Cols)}
		}
	}
	return want, want != journal.Size{}
}
