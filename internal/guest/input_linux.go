package guest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// An intake is the input of one process: what its sources sent and it did not take yet. Guarded by the process's
// mutex, except for the first two fields, which never change.
type intake struct {
	file     *os.File // pipe or terminal; nil: none
	terminal bool
	waits    *os.File // the terminal, while it is waited for

	more    sync.Cond // inbox or ended changed
	inbox   []piece
	sources map[uint64]*source
	clock   uint64
	ended   bool // what still comes is counted and thrown away
	last    byte // that was written
}

type piece struct {
	from *source
	data []byte
	eof  bool
}

// A source is one client's stdin.
type source struct {
	received uint64
	taken    uint64
	eof      bool
	news     bool   // taken changed since it was reported
	used     uint64 // clock of the last message
}

// maxPiece is written at once, so that a slow process's progress is seen.
const maxPiece = 16 << 10

func (in *intake) state() map[uint64]uint64 {
	m := make(map[uint64]uint64, len(in.sources))
	for id, src := range in.sources {
		m[id] = src.taken
		src.news = false
	}
	return m
}

// report adds an InputDone for each source that made progress.
func (in *intake) report(process uint32, msgs []line.Message) []line.Message {
	for id, src := range in.sources {
		if src.news {
			src.news = false
			msgs = append(msgs, line.InputDone{Process: process, Source: id, Offset: src.taken})
		}
	}
	return msgs
}

// input accepts what a source sent, without what the guest already had. It never waits.
func (p *process) input(m line.Input) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := &p.in
	src, err := in.source(m)
	if err != nil {
		return fmt.Errorf("input of process %d: %w", p.id, err)
	}
	end := m.Offset + uint64(len(m.Data))
	switch {
	case m.Offset > src.received:
		return fmt.Errorf("input of process %d: source %d goes on at byte %d instead of %d", p.id, m.Source, m.Offset, src.received)
	case end > src.taken+line.InputWindow:
		return fmt.Errorf("input of process %d: source %d has over %d bytes on the way", p.id, m.Source, line.InputWindow)
	case end <= src.received && (!m.EOF || src.eof):
		src.news = true // it did not hear of it
		p.g.wake()
		return nil
	}
	fresh := m.Data[min(src.received-m.Offset, uint64(len(m.Data))):]
	src.received = max(src.received, end)
	src.eof = src.eof || m.EOF
	if in.ended {
		src.taken, src.news = src.received, true
		p.g.wake()
		return nil
	}
	in.put(piece{src, fresh, m.EOF})
	return nil
}

// source finds a message's source; a new one begins where the message does.
func (in *intake) source(m line.Input) (*source, error) {
	in.clock++
	src := in.sources[m.Source]
	if src == nil {
		if len(in.sources) >= line.MaxSources && !in.forget() {
			return nil, fmt.Errorf("over %d sources", line.MaxSources)
		}
		if in.sources == nil {
			in.sources = map[uint64]*source{}
		}
		src = &source{received: m.Offset, taken: m.Offset}
		in.sources[m.Source] = src
	}
	src.used = in.clock
	return src, nil
}

// forget drops the source that was silent for longest and has nothing on the way.
func (in *intake) forget() bool {
	oldest, found := uint64(0), false
	for id, src := range in.sources {
		if src.taken == src.received && (!found || src.used < in.sources[oldest].used) {
			oldest, found = id, true
		}
	}
	delete(in.sources, oldest)
	return found
}

// put copies a piece into the inbox; what one source types key by key becomes one piece.
func (in *intake) put(pc piece) {
	if n := len(in.inbox); n > 0 {
		if last := &in.inbox[n-1]; last.from == pc.from && !last.eof && len(last.data)+len(pc.data) <= line.MaxData {
			last.data = append(last.data, pc.data...)
			last.eof = pc.eof
			return
		}
	}
	pc.data = append([]byte(nil), pc.data...)
	in.inbox = append(in.inbox, pc)
	in.more.Signal()
}

// close makes the intake take nothing any more.
func (in *intake) close() {
	if in.ended {
		return
	}
	in.ended = true
	in.inbox = nil
	for _, src := range in.sources {
		src.taken, src.news = src.received, true
	}
	in.more.Broadcast()
	for _, f := range []*os.File{in.file, in.waits} {
		if f != nil {
			_ = f.SetWriteDeadline(time.Unix(1, 0)) // a terminal is only waited for by the second
		}
	}
}

// feed writes the inbox to the process until the intake is closed.
func (p *process) feed() {
	for {
		pc, ok := p.nextPiece()
		if !ok || !p.deliver(pc) {
			break
		}
	}
	p.mu.Lock()
	p.in.close()
	p.mu.Unlock()
	p.g.wake()
	if !p.in.terminal {
		_ = p.in.file.Close()
	}
}

func (p *process) nextPiece() (pc piece, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.in.inbox) == 0 && !p.in.ended {
		p.in.more.Wait()
	}
	if p.in.ended {
		return piece{}, false
	}
	pc = p.in.inbox[0]
	p.in.inbox[0] = piece{}
	if p.in.inbox = p.in.inbox[1:]; len(p.in.inbox) == 0 {
		p.in.inbox = nil
	}
	return pc, true
}

// deliver writes one piece. It reports false when the process takes nothing any more.
func (p *process) deliver(pc piece) bool {
	for data := pc.data; len(data) > 0; {
		n, err := p.write(data[:min(len(data), maxPiece)])
		p.mu.Lock()
		if n > 0 {
			p.in.last = data[n-1]
		}
		pc.from.taken = min(pc.from.taken+uint64(n), pc.from.received) // close may have counted it already
		pc.from.news = true
		p.mu.Unlock()
		p.g.wake()
		if err != nil {
			return false
		}
		data = data[n:]
	}
	if pc.eof && !p.in.terminal {
		return false
	}
	if pc.eof {
		p.typeEOF()
	}
	return true
}

// write writes to the process, and waits while it takes nothing.
func (p *process) write(data []byte) (int, error) {
	n, err := p.in.file.Write(data)
	if !p.in.terminal || !errors.Is(err, unix.EAGAIN) {
		return n, err
	}
	waits, err := openWatched(p.in.file)
	if err != nil {
		return n, err
	}
	defer waits.Close()
	p.mu.Lock()
	if p.in.ended {
		_ = waits.SetWriteDeadline(time.Unix(1, 0))
	}
	p.in.waits = waits
	p.mu.Unlock()
	m, err := waits.Write(data[n:])
	p.mu.Lock()
	p.in.waits = nil
	p.mu.Unlock()
	return n + m, err
}

// typeEOF types the end-of-file character, if the terminal edits lines: once at the beginning of a line, and once
// more to end an unfinished one before (termios(3), VEOF). In raw mode there is no such thing.
func (p *process) typeEOF() {
	var t *unix.Termios
	err := control(p.in.file, func(fd int) (err error) {
		t, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil || t.Lflag&unix.ICANON == 0 {
		return
	}
	eof := []byte{t.Cc[unix.VEOF]}
	p.mu.Lock()
	unfinished := p.in.last != 0 && p.in.last != '\n' && p.in.last != '\r'
	p.mu.Unlock()
	if unfinished {
		eof = append(eof, eof[0])
	}
	_, _ = p.in.file.Write(eof)
}
