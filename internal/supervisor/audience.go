package supervisor

import (
	"sync"

	"moat/internal/api"
	"moat/internal/journal"
)

// audience are the clients that were sent all output that is recorded. Whoever records the next piece sends it to them,
// as far as that needs no waiting: between the command and those who watch it there is no other goroutine, and no
// queue but the record.
//
//	[behind] ── sent all that is recorded ──▶ [in the audience] ── took a piece ──▶ [in the audience]
//	    ▲                                             │
//	    └────────── would have to be waited for ──────┘
type audience struct {
	mu      sync.Mutex // also while a piece is shown, which never waits
	at      int64      // offset of the next piece
	viewers []*viewer
	leader  *client // who typed last: first to be shown a piece
}

// viewer is a client in the audience.
type viewer struct {
	*client
	next int64         // offset of the output that it is sent next; its own again after leave
	left chan struct{} // closed when it could not be sent everything
}

// join makes a client part of the audience. It reports false if there is output that the client was not sent.
func (a *audience) join(v *viewer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.next != a.at {
		return false
	}
	a.viewers = append(a.viewers, v)
	a.front()
	return true
}

// leave ends what join began. It may have ended by itself.
func (a *audience) leave(v *viewer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(func(other *viewer) bool { return other == v })
}

// lead says who is shown a piece first.
func (a *audience) lead(c *client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leader = c
	a.front()
}

// front moves the leader to the front. mu is held.
func (a *audience) front() {
	for i, v := range a.viewers {
		if v.client == a.leader {
			a.viewers[0], a.viewers[i] = a.viewers[i], a.viewers[0]
		}
	}
}

// show sends a piece that was recorded to the audience. It is called for each piece, in their order.
func (a *audience) show(c journal.Chunk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = c.End()
	var head [32]byte
	header := outputHeader(head[:0], c)
	a.remove(func(v *viewer) bool {
		sent, all := v.Offer(api.KindOutput, header, c.Data)
		if sent {
			v.next = a.at
		}
		if !all {
			close(v.left)
		}
		return !all
	})
}

// remove removes viewers and keeps the order of the others. mu is held.
func (a *audience) remove(which func(*viewer) bool) {
	kept := a.viewers[:0]
	for _, v := range a.viewers {
		if !which(v) {
			kept = append(kept, v)
		}
	}
	clear(a.viewers[len(kept):])
	a.viewers = kept
}
