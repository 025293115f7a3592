package http1

import (
	"sync"
	"time"
)

// pool keeps connections that nobody uses. No goroutine watches them: one that its server closes is found when it is
// wanted, or when its time is over.
type pool struct {
	limit int
	idle  time.Duration

	mu    sync.Mutex
	conns map[string][]*conn // newest last
	count int
	sweep *time.Timer // nil until something is kept
}

func newPool(limit int, idle time.Duration) pool {
	return pool{limit: limit, idle: idle, conns: make(map[string][]*conn)}
}

// get returns the connection that was used last, or nil.
func (p *pool) get(key string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns[key]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	conns[len(conns)-1] = nil
	p.conns[key] = conns[:len(conns)-1]
	p.count--
	return c
}

// put keeps a connection, or closes it if there are enough.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	full := p.count >= p.limit
	if !full {
		c.since = time.Now()
		p.conns[c.key] = append(p.conns[c.key], c)
		p.count++
		if p.count == 1 && p.idle > 0 {
			p.arm()
		}
	}
	p.mu.Unlock()
	if full {
		c.close()
	}
}

// arm has sweep run when the next connection may be too old. mu is held.
func (p *pool) arm() {
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.idle, p.closeOld)
		return
	}
	p.sweep.Reset(p.idle)
}

// closeOld closes what was kept for too long.
func (p *pool) closeOld() {
	p.mu.Lock()
	oldest := time.Now().Add(-p.idle)
	old := p.take(func(c *conn) bool { return !c.since.After(oldest) })
	if p.count > 0 {
		p.arm()
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

func (p *pool) closeAll() {
	p.mu.Lock()
	all := p.take(func(*conn) bool { return true })
	if p.sweep != nil {
		p.sweep.Stop()
	}
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}

// take removes connections. mu is held.
func (p *pool) take(which func(*conn) bool) (taken []*conn) {
	for key, conns := range p.conns {
		kept := conns[:0]
		for _, c := range conns {
			if which(c) {
				taken = append(taken, c)
			} else {
				kept = append(kept, c)
			}
		}
		clear(conns[len(kept):])
		if p.conns[key] = kept; len(kept) == 0 {
			delete(p.conns, key)
		}
	}
	p.count -= len(taken)
	return taken
}
