package intercept

import (
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is the time between two rounds of a patrol. A client is watched from the second round on.
const lookEvery = 50 * time.Millisecond

// lookout watches a client whose request takes long: if it goes away the request is of use to nobody.
type lookout struct {
	gate *gate
	gone func()

	// Guarded by the patrol.
	rest   *atomic.Bool // nothing of the request is left to be read
	rounds int
	read   chan struct{} // closed when nobody reads any more; nil if nobody has begun
}

// patrol has all lookouts begin that have waited. One timer for all of them: a timer for each request, which hardly ever
// fires, would wake a processor each time.
type patrol struct {
	mu      sync.Mutex
	waiting map[*lookout]bool
	timer   *time.Timer // nil until the first start
	armed   bool
}

// start begins with a request, of which rest says when it is read.
func (p *patrol) start(l *lookout, rest *atomic.Bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.rest, l.rounds, l.read = rest, 0, nil
	if p.waiting == nil {
		p.waiting = make(map[*lookout]bool)
	}
	p.waiting[l] = true
	switch {
	case p.armed:
	case p.timer == nil:
		p.timer = time.AfterFunc(lookEvery, p.round)
	default:
		p.timer.Reset(lookEvery)
	}
	p.armed = true
}

// round begins to watch who has waited, and goes on as long as there is somebody.
func (p *patrol) round() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.waiting {
		if l.rounds++; l.rounds > 1 && l.rest.Load() {
			delete(p.waiting, l)
			l.read = make(chan struct{})
			go l.look(l.read)
		}
	}
	if p.armed = len(p.waiting) > 0; p.armed {
		p.timer.Reset(lookEvery)
	}
}

// look reads ahead. What comes is the next request.
func (l *lookout) look(done chan<- struct{}) {
	defer close(done)
	if l.gate.ahead() != nil {
		l.gone()
	}
}

// stop returns when nobody reads ahead. It may be called again.
func (p *patrol) stop(l *lookout) {
	p.mu.Lock()
	delete(p.waiting, l)
	read := l.read
	p.mu.Unlock()
	if read == nil {
		return
	}
	_ = l.gate.SetReadDeadline(time.Unix(1, 0))
	<-read
	_ = l.gate.SetReadDeadline(time.Time{})
}
