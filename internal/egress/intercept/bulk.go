package intercept

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	bulkSize  = 128 << 10
	fullWrite = 16 << 10 // what fills a record of TLS
	// fullRecord is at least the size of a record of TLS 1.3 (RFC 8446 section 5.2): if as much is here, reading a
	// record does not wait.
	fullRecord = 5 + 16<<10 + 256
)

// bulk makes fewer system calls of a large transfer. Package tls reads and writes record by record; here many records are
// read at once as long as many come, and what is written between cork and uncork is written at once. The buffers are
// borrowed, and only while they are of use.
type bulk struct {
	net.Conn
	addr    string     // outside: where it leads
	buffers *sync.Pool // of *[]byte, bulkSize long

	borrowed *[]byte      // read ahead; nil if nothing is
	from, to int          // of borrowed
	ahead    atomic.Int64 // to - from, for other goroutines

	mu      sync.Mutex
	corked  *[]byte // nil: what is written is written at once
	waiting int
}

// newPool lends *[]byte of a size.
func newPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// Read is called by one goroutine at a time.
func (b *bulk) Read(p []byte) (int, error) {
	if b.from == b.to {
		if b.borrowed == nil {
			n, err := b.Conn.Read(p)
			if n == len(p) && n >= fullWrite/2 { // there is more
				b.borrowed = b.buffers.Get().(*[]byte)
			}
			return n, err
		}
		n, err := b.Conn.Read(*b.borrowed)
		if err != nil && n == 0 {
			b.giveBack()
			return 0, err
		}
		b.from, b.to = 0, n
	}
	n := copy(p, (*b.borrowed)[b.from:b.to])
	b.from += n
	if b.from == b.to && b.to < fullWrite {
		b.giveBack()
	}
	b.ahead.Store(int64(b.to - b.from))
	return n, nil
}

func (b *bulk) giveBack() {
	b.buffers.Put(b.borrowed)
	b.borrowed, b.from, b.to = nil, 0, 0
}

// more reports whether a whole record is here. It may be asked by any goroutine.
func (b *bulk) more() bool { return b != nil && b.ahead.Load() >= fullRecord }

// Write is called by one goroutine at a time, as cork and uncork are.
func (b *bulk) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.corked == nil {
		return b.Conn.Write(p)
	}
	if len(p) > len(*b.corked)-b.waiting {
		if err := b.drain(); err != nil {
			return 0, err
		}
		if len(p) > len(*b.corked) {
			return b.Conn.Write(p)
		}
	}
	b.waiting += copy((*b.corked)[b.waiting:], p)
	return len(p), nil
}

func (b *bulk) drain() error {
	n := b.waiting
	b.waiting = 0
	if n == 0 {
		return nil
	}
	_, err := b.Conn.Write((*b.corked)[:n])
	return err
}

// cork keeps what is written until uncork. It reports whether it was not corked before.
func (b *bulk) cork() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.corked != nil {
		return false
	}
	b.corked = b.buffers.Get().(*[]byte)
	return true
}

func (b *bulk) uncork() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.drain()
	b.buffers.Put(b.corked)
	b.corked = nil
	return err
}

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (b *bulk) CloseWrite() error {
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}

// SyscallConn is that of the connection below, where it has one.
func (b *bulk) SyscallConn() (syscall.RawConn, error) {
	if c, ok := b.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// corking is a connection whose large writes reach the connection below as one.
type corking struct {
	net.Conn
	below *bulk
}

func (c *corking) Write(p []byte) (int, error) {
	if len(p) <= fullWrite {
		return c.Conn.Write(p)
	}
	if !c.below.cork() {
		return c.Conn.Write(p) // somebody has done so
	}
	n, err := c.Conn.Write(p)
	if failed := c.below.uncork(); err == nil && failed != nil {
		return 0, failed
	}
	return n, err
}

// Cork and Uncork implement http1.Corker.
func (c *corking) Cork() { c.below.cork() }

// Uncork writes what waits.
func (c *corking) Uncork() error { return c.below.uncork() }

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (c *corking) CloseWrite() error {
	if c, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}
