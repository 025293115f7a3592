package intercept

import (
	"net"
	"sync"
	"time"
)

// drainLimit is how long a client may take for the end of the last answer.
const drainLimit = time.Minute

// behind writes large pieces behind the back of who writes them: while the kernel takes one, the next ones gather and are
// written at once, and whoever makes them goes on. Package net/http writes HTTP/2 frame by frame, each in a record of TLS of
// its own, which would be a system call for every 16 KiB. Small pieces are written at once unless others wait before them.
//
// At most bulkSize bytes wait; then Write does. An error is told to the next Write.
type behind struct {
	net.Conn
	buffers  *sync.Pool    // of *[]byte, bulkSize long
	patience time.Duration // of Close, with what waits

	mu      sync.Mutex
	moved   sync.Cond // fewer bytes wait, or nobody writes any more
	on      bool
	waiting *[]byte // nil: nothing waits
	n       int     // bytes of it
	writing bool    // a goroutine writes
	err     error
}

func newBehind(conn net.Conn, buffers *sync.Pool) *behind {
	b := &behind{Conn: conn, buffers: buffers, patience: drainLimit}
	b.moved.L = &b.mu
	return b
}

// begin has large pieces written behind.
func (b *behind) begin() {
	b.mu.Lock()
	b.on = true
	b.mu.Unlock()
}

// Write may return before p is written.
func (b *behind) Write(p []byte) (int, error) {
	b.mu.Lock()
	if !b.writing && (!b.on || len(p) < fullWrite/2) {
		err := b.err
		b.mu.Unlock()
		if err != nil {
			return 0, err
		}
		return b.Conn.Write(p)
	}
	defer b.mu.Unlock()
	for rest := p; len(rest) > 0; {
		for b.waiting != nil && b.n == bulkSize && b.err == nil {
			b.moved.Wait()
		}
		if b.err != nil {
			return 0, b.err
		}
		if b.waiting == nil {
			b.waiting, b.n = b.buffers.Get().(*[]byte), 0
		}
		copied := copy((*b.waiting)[b.n:bulkSize], rest)
		b.n += copied
		rest = rest[copied:]
		if !b.writing {
			b.writing = true
			go b.write()
		}
	}
	return len(p), nil
}

// write writes what waits until nothing does.
func (b *behind) write() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.waiting != nil && b.err == nil {
		piece, n := b.waiting, b.n
		b.waiting = nil
		b.moved.Broadcast()
		b.mu.Unlock()
		_, err := b.Conn.Write((*piece)[:n])
		b.buffers.Put(piece)
		b.mu.Lock()
		b.err = err
	}
	if b.waiting != nil {
		b.buffers.Put(b.waiting)
		b.waiting = nil
	}
	b.writing = false
	b.moved.Broadcast()
}

// Close waits until everything is written, for a while.
func (b *behind) Close() error {
	b.mu.Lock()
	if b.writing {
		_ = b.SetWriteDeadline(time.Now().Add(b.patience))
	}
	for b.writing {
		b.moved.Wait()
	}
	b.mu.Unlock()
	return b.Conn.Close()
}

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (b *behind) CloseWrite() error {
	b.mu.Lock()
	for b.writing {
		b.moved.Wait()
	}
	b.mu.Unlock()
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}
