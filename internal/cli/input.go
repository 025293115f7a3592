package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"moat/internal/api"
)

// input is a client's standard input on its way to a command: read once, kept until the command has taken it, and
// sent again from there when the connection was lost in between.
type input struct {
	source uint64 // names this input to the guest; never 0

	mu     sync.Mutex
	base   uint64 // number of the first byte of kept
	kept   []byte // read and not yet taken
	eof    bool
	change chan struct{} // closed and replaced whenever one of the above changes
}

// newInput starts reading from r. The reading goroutine ends with r, or with the process: a read from a terminal
// cannot be taken back.
func newInput(r io.Reader) *input {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	in := &input{source: max(binary.BigEndian.Uint64(b[:]), 1), change: make(chan struct{})}
	go in.read(r)
	return in
}

func (in *input) read(r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		in.mu.Lock()
		in.kept = append(in.kept, buf[:n]...)
		if err != nil {
			in.eof = true
		}
		in.changed()
		for err == nil && len(in.kept)+len(buf) > api.InputWindow {
			change := in.change
			in.mu.Unlock()
			<-change
			in.mu.Lock()
		}
		in.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// changed wakes whoever waits. mu is held.
func (in *input) changed() {
	close(in.change)
	in.change = make(chan struct{})
}

// taken forgets what the command has taken.
func (in *input) taken(offset uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if offset <= in.base {
		return
	}
	n := min(offset-in.base, uint64(len(in.kept)))
	in.kept = append(in.kept[:0], in.kept[n:]...)
	in.base += n
	in.changed()
}

// flushTime bounds how long a person who detaches waits for what was typed before.
const flushTime = 500 * time.Millisecond

// flush waits until the command has taken what was read so far, for a moment.
func (in *input) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	in.mu.Lock()
	end := in.base + uint64(len(in.kept))
	for in.base < end {
		change := in.change
		in.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return
		}
		in.mu.Lock()
	}
	in.mu.Unlock()
}

// sendTo sends what is there and what comes, beginning with the first byte that was not taken, until the stream
// breaks or done is closed.
func (in *input) sendTo(s *api.Stream, done <-chan struct{}) {
	next := uint64(0)
	var frame []byte
	for {
		in.mu.Lock()
		next = max(next, in.base)
		data := in.kept[next-in.base:]
		data = data[:min(len(data), 32<<10)]
		last := in.eof && next-in.base+uint64(len(data)) == uint64(len(in.kept))
		frame = api.AppendInput(frame[:0], api.Input{Offset: next, EOF: last, Data: data})
		next += uint64(len(data))
		idle := len(data) == 0 && !last
		change := in.change
		in.mu.Unlock()
		if idle {
			select {
			case <-change:
				continue
			case <-done:
				return
			}
		}
		if s.Send(api.KindInput, frame) != nil || last {
			return // a broken stream is noticed by the one who receives
		}
	}
}
