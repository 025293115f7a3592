package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"moat/internal/line"
)

// A loan is what a process with a terminal has for lending it (package line, "Borrowed terminals"). Guarded by the
// process's mutex.
//
//	[read here] ── Borrow ──▶ wanted ── all that was read is sent ──▶ offer ── sent ──▶ [lent]
//	     ▲                                                              │                 │
//	     └───────────────── nobody has the loan's other end ◀───────────┴─────────────────┘
type loan struct {
	slate  *line.Slate
	file   *os.File // the slate's
	wanted *session // wants the terminal; nil: nobody does
	offer  *offer   // not taken for sending yet
	waits  *os.File // our end of the pipe; nil while the terminal is read here
	back   chan struct{}
}

// offer is a loan on its way to a session.
type offer struct {
	to    *session
	files line.Files
	end   *os.File // the pipe's other end, to be closed here when it was sent or cannot be
}

// withdraw ends an offer to a session, or to any if s is nil, that nobody has taken. The caller holds mu.
func (l *loan) withdraw(s *session) {
	if l.offer != nil && (s == nil || l.offer.to == s) {
		_ = l.offer.end.Close()
		l.offer = nil
	}
}

// borrow notes that a session wants the process's terminal.
func (p *process) borrow(s *session) error {
	if p.tty == nil || !s.conn.PassesFiles() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on != s {
		return fmt.Errorf("process %d is borrowed before its output was resumed", p.id)
	}
	p.loan.wanted = s
	for _, f := range p.open {
		_ = f.SetReadDeadline(time.Unix(1, 0)) // wakes who reads it, if anybody does
	}
	p.room.Broadcast()
	return nil
}

// borrowed reports whether a stream is to be lent now. The caller holds mu.
func (p *process) borrowed(kind line.Stream) bool {
	return kind == line.Terminal && p.loan.wanted != nil && p.loan.wanted == p.on && p.exit == nil && !p.closed
}

// interrupted tells the reader of a stream what its deadline meant: to lend the stream, or that it has expired. If
// neither, it goes on.
func (p *process) interrupted(r reader) (lend, expired bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.borrowed(r.kind) {
		return true, false
	}
	if !p.expired {
		_ = r.file.SetReadDeadline(time.Time{})
	}
	return false, p.expired
}

// lend lends the terminal that is read from file, and returns when it is back, or when it is not waited for any more. It
// is to be read from the returned file then; nil when the guest ends.
func (p *process) lend(file *os.File) *os.File {
	waits, err := p.offerLoan(file)
	if err != nil {
		p.g.log.Warn("a terminal is not lent", "process", p.id, "error", err)
		return file
	}
	_ = file.Close()
	p.g.wake()
	_, _ = io.Copy(io.Discard, waits) // whatever ends it: the terminal is read here again
	file, err = openWatched(p.tty)
	if err != nil {
		p.g.log.Error("a terminal that was lent cannot be read", "process", p.id, "error", err)
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	delete(p.g.streams, waits)
	_ = waits.Close()
	return p.takeBack(file)
}

// offerLoan prepares the loan that is wanted, and returns what to wait for.
func (p *process) offerLoan(file *os.File) (waits *os.File, err error) {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.loan.wanted
	p.loan.wanted = nil
	if !p.expired {
		_ = file.SetReadDeadline(time.Time{})
	}
	switch {
	case p.g.stopped || p.expired || to == nil:
		return nil, errors.New("it is about to end")
	case to != p.on:
		return nil, errors.New("the host that wanted it is not there any more")
	}
	if p.loan.slate == nil {
		if p.loan.slate, p.loan.file, err = line.NewSlate(); err != nil {
			return nil, err
		}
	}
	waits, end, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.loan.slate.Begin(p.out.end)
	p.loan.offer = &offer{to: to, end: end, files: line.Files{Names: line.LoanNames(), Files: []*os.File{p.tty, p.loan.file, end}}}
	p.loan.waits, p.loan.back = waits, make(chan struct{})
	p.g.streams[waits] = struct{}{}
	delete(p.g.streams, file)
	return waits, nil
}

// takeBack makes what the host has read and not recorded the next of the process's output. The terminal is read from file
// from now on, or not at all if it is nil or the guest ends. The caller holds g.mu.
func (p *process) takeBack(file *os.File) *os.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loan.withdraw(nil)
	at, data := p.loan.slate.Recover()
	if at > p.out.end {
		p.out.skip(at)
	}
	p.out.put(data, line.Terminal, time.Now())
	p.loan.waits = nil
	close(p.loan.back)
	p.g.wake()
	if file != nil && p.g.stopped {
		_ = file.Close()
		return nil
	}
	if file != nil {
		p.open = []*os.File{file}
		p.g.streams[file] = struct{}{}
		if p.expired || p.loan.wanted != nil {
			_ = file.SetReadDeadline(time.Unix(1, 0))
		}
	}
	return file
}

// dispose closes the terminal, which is not read any more.
func (p *process) dispose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loan.slate != nil {
		_ = errors.Join(p.loan.slate.Close(), p.loan.file.Close())
		p.loan.slate = nil
	}
	_ = p.tty.Close()
}

// recall waits until every terminal is back: a host that opens a new line has given back, or has died with, what the last
// one had borrowed.
func (g *guest) recall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, line.ProofTimeout)
	defer cancel()
	for _, back := range g.lent() {
		select {
		case <-back:
		case <-ctx.Done():
			return fmt.Errorf("a terminal was not given back: %w", ctx.Err())
		}
	}
	return nil
}

// lent lists the terminals that are not here, by what is closed when they are. Nobody gets those that were not sent yet.
func (g *guest) lent() (all []chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.processes {
		p.mu.Lock()
		p.loan.withdraw(nil)
		if p.loan.waits != nil {
			all = append(all, p.loan.back)
		}
		p.mu.Unlock()
	}
	return all
}
