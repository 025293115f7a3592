package guest

import (
	"sync"
	"time"

	"moat/internal/line"
)

const (
	blockSize  = line.MaxData
	smallest   = 4 << 10 // a block with less space than this is not read into any more
	spare      = 8       // blocks that a pool keeps
	chunkCost  = 96      // memory of a chunk beside its data, which counts towards the window too
	mergeUntil = 100 * time.Millisecond
)

// A window is the output of one process that was not acknowledged: chunks in the order in which they were read.
// Its owner guards it with one mutex.
//
// A chunk grows while nobody has seen it; as soon as it was taken once, its bounds stay, so that the host never
// gets a part of what it has.
type window struct {
	pool   *pool
	chunks []chunk
	next   int    // chunks before it were taken on the present line
	sealed int    // chunks before it were taken at least once
	first  uint64 // number of the oldest byte
	end    uint64 // number of the next byte to be read
	cost   int
	block  *block // is being filled
	muted  bool   // nobody will ask: count only
}

type chunk struct {
	out   line.Output
	block *block
}

// A block is memory that holds several chunks.
type block struct {
	buf  []byte
	used int
	refs int // chunks in a window or on their way to the host
}

// full reports whether the process must wait.
func (w *window) full() bool { return w.cost+chunkCost >= line.Window }

// space returns where to put the next bytes, nil while the window is full.
func (w *window) space() []byte {
	room := line.Window - w.cost - chunkCost
	if room <= 0 {
		return nil
	}
	if w.block != nil && blockSize-w.block.used < smallest {
		w.dropBlock()
	}
	if w.block == nil {
		w.block = w.pool.get()
	}
	free := w.block.buf[w.block.used:]
	return free[:min(len(free), room)]
}

// commit adds the n bytes that were put where space said.
func (w *window) commit(n int, from line.Stream, now time.Time) {
	b := w.block
	data := b.buf[b.used : b.used+n : b.used+n]
	offset := w.end
	w.end += uint64(n)
	if w.muted {
		w.first = w.end
		return
	}
	if w.grow(n, from, now) {
		return
	}
	b.used += n
	b.refs++
	w.cost += n + chunkCost
	w.chunks = append(w.chunks, chunk{line.Output{Stream: from, Offset: offset, Time: now, Data: data}, b})
}

// grow makes the newest chunk longer by the n bytes behind it, if it may.
func (w *window) grow(n int, from line.Stream, now time.Time) bool {
	last := len(w.chunks) - 1
	if last < w.sealed {
		return false
	}
	c := &w.chunks[last]
	if c.block != w.block || c.out.Stream != from || now.Sub(c.out.Time) > mergeUntil {
		return false
	}
	// Chunks follow one another in a block, so the newest one of this block ends where it is used up to.
	start := w.block.used - len(c.out.Data)
	w.block.used += n
	w.cost += n
	c.out.Data = w.block.buf[start:w.block.used:w.block.used]
	return true
}

// rest gives memory back while there is nothing to read.
func (w *window) rest() {
	if len(w.chunks) == 0 {
		w.dropBlock()
		w.chunks = nil
	}
}

func (w *window) dropBlock() {
	if b := w.block; b != nil {
		w.block = nil
		if b.refs == 0 {
			w.pool.put(b)
		}
	}
}

// release gives up one reference to a block.
func (w *window) release(b *block) {
	b.refs--
	if b.refs > 0 {
		return
	}
	if b == w.block {
		b.used = 0
		return
	}
	w.pool.put(b)
}

// take returns the next chunk for the present line, whose block the caller releases when it was sent.
func (w *window) take() (c chunk, ok bool) {
	if w.next == len(w.chunks) {
		return chunk{}, false
	}
	c = w.chunks[w.next]
	c.block.refs++
	w.next++
	w.sealed = max(w.sealed, w.next)
	return c, true
}

// ack forgets what comes before offset and reports whether offset may be acknowledged at all.
func (w *window) ack(offset uint64) bool {
	if offset > w.end {
		return false
	}
	n := 0 // chunks of which nothing is left
	for n < len(w.chunks) && w.chunks[n].out.Offset+uint64(len(w.chunks[n].out.Data)) <= offset {
		w.cost -= len(w.chunks[n].out.Data) + chunkCost
		w.release(w.chunks[n].block)
		w.chunks[n] = chunk{}
		n++
	}
	if w.chunks = w.chunks[n:]; len(w.chunks) > 0 && w.chunks[0].out.Offset < offset {
		c := &w.chunks[0].out
		part := offset - c.Offset
		c.Data, c.Offset = c.Data[part:], offset
		w.cost -= int(part)
	}
	w.first = max(w.first, offset)
	w.next = max(0, w.next-n)
	w.sealed = max(0, w.sealed-n)
	return true
}

// resume acknowledges up to offset and starts again there. A host that wants what it acknowledged before gets the
// oldest there is.
func (w *window) resume(offset uint64) bool {
	if !w.ack(offset) {
		return false
	}
	w.next = 0
	return true
}

// skip forgets everything: all bytes before the number end are acknowledged, though they were not read here.
func (w *window) skip(end uint64) {
	w.ack(w.end)
	w.first, w.end = end, end
}

// put adds a piece of at most blockSize bytes that was read elsewhere, whether there is room for it or not.
func (w *window) put(data []byte, from line.Stream, now time.Time) {
	if len(data) == 0 {
		return
	}
	w.dropBlock()
	w.block = w.pool.get()
	w.commit(copy(w.block.buf, data), from, now)
}

// mute forgets everything, now and later.
func (w *window) mute() {
	w.ack(w.end)
	w.muted = true
}

// sent reports whether everything was taken on the present line.
func (w *window) sent() bool { return w.next == len(w.chunks) }

// A pool keeps a few blocks for reuse.
type pool struct {
	mu   sync.Mutex
	free []*block
}

func (p *pool) get() *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return &block{buf: make([]byte, blockSize)}
}

// empty leaves the blocks to the garbage collector.
func (p *pool) empty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = nil
}

func (p *pool) put(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < spare {
		b.used = 0
		p.free = append(p.free, b)
	}
}
