package mux

import "sync"

// A turn is a lock whose urgent takers go before all others. The others are served in their order.
type turn struct {
	mu     sync.Mutex
	taken  bool
	urgent []chan struct{}
	usual  []chan struct{}
}

func (t *turn) take(urgent bool) {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return
	}
	mine := make(chan struct{})
	if urgent {
		t.urgent = append(t.urgent, mine)
	} else {
		t.usual = append(t.usual, mine)
	}
	t.mu.Unlock()
	<-mine
}

func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := &t.urgent
	if len(*queue) == 0 {
		queue = &t.usual
	}
	if len(*queue) == 0 {
		t.taken = false
		return
	}
	next := (*queue)[0]
	*queue = (*queue)[1:]
	close(next)
}
