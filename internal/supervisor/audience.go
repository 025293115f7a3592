package supervisor

import (
	"slices"
	"sync"
	"time"

	"moat/internal/api"
	"moat/internal/journal"
)

// audience are the clients that were sent all output that is recorded. Whoever records the next piece sends it to them,
// as far as that needs no waiting: between the command and those who watch it there is no other goroutine, and no
// queue but the record.
//
//	[behind] ── sent all that is recorded ──▶ [in the audience] ── took a piece ──▶ [in the audience]
//	    ▲                                             │
//	    └──── would have to be waited for, or is late ┘
//
// Of several terminals that show a run one is typed on. It is shown each piece at once. The others are shown what there is
// by then at most every watchTime, one after the other, so that they do not all want a processor between a key and its echo.
type audience struct {
	mu      sync.Mutex // also while a piece is shown, which never waits
	at      int64      // offset of the next piece
	viewers []*viewer
	late    []*viewer // to be shown more, in this order
	waiting bool      // for the time of the first of them
	leader  *client   // who typed last: first to be shown a piece
}

// watchTime is how long it takes to show all terminals something that nobody types on: less than an eye notices.
const watchTime = 20 * time.Millisecond

// viewer is a client in the audience.
type viewer struct {
	*client
	watches bool          // on a terminal
	next    int64         // offset of the output that it is sent next; its own again after leave
	left    chan struct{} // closed when there is something to do for it
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
	this := func(other *viewer) bool { return other == v }
	a.viewers = slices.DeleteFunc(a.viewers, this)
	a.late = slices.DeleteFunc(a.late, this)
}

// lead says who is shown a piece first.
func (a *audience) lead(c *client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leader = c
	a.front()
	a.late = slices.DeleteFunc(a.late, func(v *viewer) bool {
		if v.client == c {
			close(v.left)
		}
		return v.client == c
	})
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
	several := len(a.viewers)+len(a.late) > 1
	a.viewers = slices.DeleteFunc(a.viewers, func(v *viewer) bool {
		if several && v.watches && v.client != a.leader {
			a.late = append(a.late, v)
			return true
		}
		sent, all := v.Offer(api.KindOutput, header, c.Data)
		if sent {
			v.next = a.at
		}
		if !all {
			close(v.left)
		}
		return !all
	})
	a.catchUp()
}

// catchUp lets the next of those who are late see what there is, if it is time. mu is held.
func (a *audience) catchUp() {
	if a.waiting || len(a.late) == 0 {
		return
	}
	pause := watchTime / time.Duration(len(a.late)+len(a.viewers))
	close(a.late[0].left)
	a.late = slices.Delete(a.late, 0, 1)
	a.waiting = true
	time.AfterFunc(pause, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting = false
		a.catchUp()
	})
}
