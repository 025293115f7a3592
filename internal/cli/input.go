package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"moat/internal/api"
	"moat/internal/sock"
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

	// What is typed goes straight to the command's terminal while there is one, this client leads, and nothing is kept.
	keyboard *sock.Raw // nil: there is none
	leads    bool
	report   func(at time.Time) // tells the supervisor, a while after something was typed
	typed    time.Time          // not reported yet; zero: nothing
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
		in.kept = append(in.kept, buf[in.write(buf[:n]):n]...)
		if len(in.kept) == 0 && err == nil {
			in.mu.Unlock()
			continue
		}
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

// write writes to the command's terminal what may be written there and is taken at once, and returns how much that is.
// mu is held.
func (in *input) write(p []byte) int {
	if in.keyboard == nil || !in.leads || len(in.kept) > 0 {
		return 0
	}
	n, err := in.keyboard.WriteNow(p)
	if err != nil {
		in.unplug()
	}
	if n > 0 && in.typed.IsZero() {
		time.AfterFunc(reportTime, in.tell)
	}
	if n > 0 {
		in.typed = time.Now()
	}
	return n
}

// reportTime is how long after a key the supervisor hears of it that did not pass it on.
const reportTime = 300 * time.Millisecond

// tell reports what was typed and not reported.
func (in *input) tell() {
	in.mu.Lock()
	at, report := in.typed, in.report
	in.typed = time.Time{}
	in.mu.Unlock()
	if !at.IsZero() && report != nil {
		report(at)
	}
}

// plug connects the command's terminal, which is the input's from then on.
func (in *input) plug(keyboard sock.Raw, report func(at time.Time)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unplug()
	in.keyboard, in.report = &keyboard, report
}

// lead says whether this client leads, on the connection that is there.
func (in *input) lead(on bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.leads = on
}

// lost says that the connection is gone.
func (in *input) lost() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unplug()
	in.leads = false
}

// unplug closes the command's terminal. mu is held.
func (in *input) unplug() {
	if in.keyboard != nil {
		_ = in.keyboard.Close() // it was only written to
		in.keyboard = nil
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
	in.tell()
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
