package ca

import (
	"container/list"
	"crypto/tls"
	"sync"
)

// maxLeaves bounds the cache. A leaf and what belongs to it take some 2 KiB.
const maxLeaves = 1024

// cache keeps what was made for the hosts that were used last.
type cache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   list.List // of *entry, the one used last at the front
}

// entry is made by the first who asks for its host; the others wait.
type entry struct {
	host string
	once sync.Once
	cert *tls.Certificate
	conf *tls.Config
	err  error
}

// get returns the entry of a host, made by fill if there is none. An entry that failed is not kept.
func (c *cache) get(host string, fill func(*entry)) *entry {
	e := c.entry(host)
	e.once.Do(func() { fill(e) })
	if e.err != nil {
		c.drop(e)
	}
	return e
}

func (c *cache) entry(host string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[host]; ok {
		c.order.MoveToFront(element)
		return element.Value.(*entry)
	}
	if c.order.Len() >= maxLeaves {
		oldest := c.order.Back()
		delete(c.entries, c.order.Remove(oldest).(*entry).host)
	}
	e := &entry{host: host}
	c.entries[host] = c.order.PushFront(e)
	return e
}

func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[e.host]; ok && element.Value == any(e) {
		c.order.Remove(element)
		delete(c.entries, e.host)
	}
}
