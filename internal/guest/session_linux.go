package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"moat/internal/line"
)

const (
	maxReplies = 1024 // answers that a host may leave unread
	maxBatch   = 16   // pieces of output that are sent with one system call
)

// A session is one proven connection.
type session struct {
	g       *guest
	conn    *line.Conn
	wake    chan struct{} // there may be something to send; one element
	over    chan struct{} // closed when the peer is gone
	welcome []line.ProcessState
	replies []line.Message // guarded by g.mu
}

func newSession(g *guest, conn *line.Conn) *session {
	return &session{g: g, conn: conn, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// run serves the connection until it ends.
func (s *session) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	if err := s.g.recall(ctx); err != nil {
		s.g.log.Warn("refuse a line", "error", err)
		_ = s.conn.Close()
		return
	}
	s.takeOver()
	var writing sync.WaitGroup
	writing.Go(func() { s.write(ctx) })
	err := s.read()
	if !errors.Is(err, io.EOF) {
		s.g.log.Warn("end a line", "error", err)
	}
	close(s.over)
	_ = s.conn.Close()
	writing.Wait() // it may be about to hand the door over
	s.leave()
}

// takeOver makes this session the line. It hangs up the old one.
func (s *session) takeOver() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if old := s.g.line.Swap(s); old != nil {
		_ = old.conn.Close()
	}
	for _, p := range s.g.processes {
		if !p.released {
			s.welcome = append(s.welcome, p.state())
		}
	}
}

// leave ends the guest if nothing was started and this was the line.
func (s *session) leave() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	for _, p := range s.g.processes {
		p.mu.Lock()
		p.loan.withdraw(s)
		p.mu.Unlock()
	}
	if !s.g.line.CompareAndSwap(s, nil) {
		return
	}
	if s.g.door != nil {
		s.g.door.set(false, nil)
	}
	if !s.g.started {
		s.g.stop(ErrNoSupervisor)
	}
}

// read handles messages until the connection ends or another one is the line.
func (s *session) read() error {
	for {
		m, err := s.conn.Next()
		if err != nil {
			return err
		}
		if err := s.handle(m); err != nil {
			return err
		}
	}
}

// handle does what one message says. With an error the line ends: the host broke the protocol.
func (s *session) handle(m line.Message) error {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.line.Load() != s {
		return io.EOF
	}
	switch m := m.(type) {
	case line.Spawn:
		return s.reply(s.g.spawn(s, m))
	case line.Resume:
		return s.withProcess(m.Process, func(p *process) error { return p.resume(s, m.Offset) })
	case line.Ack:
		return s.withProcess(m.Process, func(p *process) error { return p.ack(m.Offset) })
	case line.Input:
		return s.withProcess(m.Process, func(p *process) error { return p.input(m) })
	case line.Signal:
		return s.withProcess(m.Process, func(p *process) error { return p.signal(m.Signal) })
	case line.Resize:
		return s.withProcess(m.Process, func(p *process) error { return p.resize(m.Rows, m.Cols) })
	case line.Release:
		return s.withProcess(m.Process, func(p *process) error { s.g.release(p); return nil })
	case line.Borrow:
		return s.withProcess(m.Process, func(p *process) error { return p.borrow(s) })
	case line.Shutdown:
		s.g.stop(nil)
		return nil
	case line.Files:
		for _, f := range m.Files {
			_ = f.Close()
		}
	}
	return fmt.Errorf("kind %q means nothing to a guest", m.Kind())
}

// withProcess calls f with a process that the guest knows. Others were released: what is still on its way for
// them means nothing.
func (s *session) withProcess(id uint32, f func(*process) error) error {
	p := s.g.processes[id]
	if p == nil || p.released {
		return nil
	}
	return f(p)
}

// reply queues an answer. The caller holds g.mu.
func (s *session) reply(m line.Message) error {
	if len(s.replies) >= maxReplies {
		return errors.New("the host does not read its answers")
	}
	s.replies = append(s.replies, m)
	s.g.wake()
	return nil
}

// write sends what there is to send. Only it writes, so reading never waits for a slow peer.
func (s *session) write(ctx context.Context) {
	err := s.conn.SendWelcome(s.welcome)
	s.welcome = nil
	if err == nil && s.g.door != nil {
		err = s.g.door.handOver(ctx, s.conn)
	}
	var b batch
	for err == nil {
		s.collect(&b)
		if len(b.msgs) > 0 || b.offer != nil {
			err = s.send(&b)
			continue
		}
		select {
		case <-s.wake:
		case <-s.over:
			return
		}
	}
	s.g.log.Warn("send to the host", "error", err)
	_ = s.conn.Close()
}

// send sends a batch and empties it.
func (s *session) send(b *batch) error {
	defer b.release()
	var err error
	if len(b.msgs) > 0 {
		err = s.conn.Send(b.msgs...)
	}
	if err == nil && b.offer != nil {
		err = s.conn.Send(b.offer.files)
	}
	return err
}

// A batch is what is sent with one system call, and a loan after it with another.
type batch struct {
	msgs   []line.Message
	blocks []held
	offer  *offer
}

type held struct {
	p     *process
	block *block
}

// release gives up the memory of what was sent.
func (b *batch) release() {
	for _, h := range b.blocks {
		h.p.mu.Lock()
		h.p.out.release(h.block)
		h.p.mu.Unlock()
	}
	if b.offer != nil {
		_ = b.offer.end.Close()
		b.offer = nil
	}
	clear(b.msgs)
	clear(b.blocks)
	b.msgs, b.blocks = b.msgs[:0], b.blocks[:0]
}

// collect fills an empty batch: answers first, so that Spawned comes before a process's output, and the end of the run's command
// last, because whoever hears of that asks for nothing else.
func (s *session) collect(b *batch) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.line.Load() != s {
		return
	}
	b.msgs = append(b.msgs, s.replies...)
	s.replies = nil
	last := true
	for _, p := range s.g.processes { // in any order: nobody is preferred
		if !p.main {
			p.collect(s, b, true)
			last = last && !p.owes(s)
		}
	}
	if p := s.g.processes[line.Main]; p != nil {
		p.collect(s, b, last)
	}
}
