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

const (
	lastWords = 200 * time.Millisecond // what a command left behind may still print for so long
	killTime  = 2 * time.Second        // from SIGKILL to the end of the streams
)

// A process is one command and its streams.
type process struct {
	g        *guest
	id       uint32
	pid      int
	main     bool
	released bool     // guarded by g.mu
	reaped   bool     // guarded by g.mu: pid may belong to somebody else
	swept    bool     // guarded by g.mu: the end of the run's command ended it, or might have: nobody hears how
	tty      *os.File // the terminal's master; nil on pipes
	slave    *os.File // keeps the terminal open while the command has closed it; closed when that has ended

	mu      sync.Mutex // guards:
	room    sync.Cond  // out may have got room, or closed was set
	out     window
	open    []*os.File // streams that were not read to their end
	closed  bool       // the guest ends
	on      *session   // the line that gets the output
	exit    *line.Exit
	told    bool // exit was sent on that line
	expired bool // do not wait for more output
	timer   *time.Timer
	in      intake
	loan    loan
}

// done reports whether the process has ended and its output is read. The caller holds mu.
func (p *process) done() bool { return p.exit != nil && len(p.open) == 0 }

// state says what a new line must know of the process. The caller holds g.mu.
func (p *process) state() line.ProcessState {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := line.ProcessState{Process: p.id, PID: p.pid, First: p.out.first, End: p.out.end, Input: p.in.state()}
	if p.done() && !p.swept {
		exit := *p.exit
		st.Exit = &exit
	}
	return st
}

// resume begins to send to a line.
func (p *process) resume(s *session, offset uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.out.resume(offset) {
		return fmt.Errorf("resume at byte %d of process %d, which has printed %d", offset, p.id, p.out.end)
	}
	if p.loan.offer != nil && p.loan.offer.to != s {
		p.loan.withdraw(nil) // made when s had looked already for what is not here
	}
	p.on, p.told = s, false
	p.g.wake()
	p.room.Broadcast()
	return nil
}

func (p *process) ack(offset uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.out.ack(offset) {
		return fmt.Errorf("acknowledgement of byte %d of process %d, which has printed %d", offset, p.id, p.out.end)
	}
	p.room.Broadcast()
	return nil
}

// owes reports whether the line s has still to hear how the process ended. The caller holds g.mu.
func (p *process) owes(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on == s && p.done() && !p.told && !p.swept
}

// collect adds to b what the line s should hear of the process; its end only if last. The caller holds g.mu.
func (p *process) collect(s *session, b *batch, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on != s {
		return
	}
	b.msgs = p.in.report(p.id, b.msgs)
	for len(b.blocks) < maxBatch {
		c, ok := p.out.take()
		if !ok {
			break
		}
		c.out.Process = p.id
		b.msgs = append(b.msgs, c.out)
		b.blocks = append(b.blocks, held{p, c.block})
	}
	if o := p.loan.offer; o != nil && o.to == s && b.offer == nil && p.out.sent() {
		b.offer, p.loan.offer = o, nil
	}
	if last && p.done() && p.out.sent() && !p.told && !p.swept {
		p.told = true
		b.msgs = append(b.msgs, *p.exit)
	}
}

// signal sends a signal to the process's group. The caller holds g.mu.
func (p *process) signal(sig int) error {
	if p.reaped {
		return nil
	}
	_ = unix.Kill(-p.pid, unix.Signal(sig)) // no such process: it has ended in this moment
	if p.tty == nil {
		return nil
	}
	if fg, err := foreground(p.tty); err == nil && fg > 0 && fg != p.pid {
		_ = unix.Kill(-fg, unix.Signal(sig))
	}
	return nil
}

// resize sets the size of the process's terminal, if it has one.
func (p *process) resize(rows, cols uint16) error {
	if p.tty == nil || rows == 0 || cols == 0 {
		return nil
	}
	if err := setSize(p.tty, rows, cols); err != nil && !errors.Is(err, os.ErrClosed) {
		p.g.log.Warn("resize a terminal", "process", p.id, "error", err)
	}
	return nil
}

// hangUp tells a released process to end. The caller holds g.mu.
func (p *process) hangUp() {
	_ = p.signal(int(unix.SIGHUP))
	_ = p.signal(int(unix.SIGCONT)) // a stopped one must run to notice
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.mute()
	p.room.Broadcast()
}

// exited notes how the process ended. The caller holds g.mu.
func (p *process) exited(status unix.WaitStatus) {
	exit := line.Exit{Process: p.id, Code: status.ExitStatus(), Time: time.Now()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
	}
	p.reaped = true
	p.swept = p.g.ended && !p.main
	if p.slave != nil {
		_ = p.slave.Close()
	}
	p.mu.Lock()
	p.exit = &exit
	p.in.close()
	if !p.done() && !p.closed {
		p.timer = time.AfterFunc(lastWords, p.expire)
	}
	p.mu.Unlock()
	p.g.settle(p)
}

// expire stops waiting for what other processes may still print on the ended process's streams.
func (p *process) expire() {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done() || p.closed {
		return
	}
	if p.main && !p.g.ended {
		p.g.ended = true
		p.timer.Reset(killTime)
		p.g.killAll()
		return
	}
	p.expired = true
	for _, f := range p.open {
		_ = f.SetReadDeadline(time.Unix(1, 0))
	}
	if p.loan.waits != nil {
		_ = p.loan.waits.SetReadDeadline(time.Unix(1, 0))
	}
}

// abandon makes the process's goroutines end. The caller holds g.mu.
func (p *process) abandon() {
	if p.slave != nil {
		_ = p.slave.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.in.close()
	p.room.Broadcast()
}

// settle draws the consequences of a process's end, if it has ended. The caller holds g.mu.
func (g *guest) settle(p *process) {
	p.mu.Lock()
	done := p.done()
	if done && p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	if !done {
		return
	}
	if p.main && !g.ended {
		g.ended = true
		g.killAll()
	}
	if p.released {
		g.forget(p)
	}
	g.wake()
}

// release forgets a process now or when it has ended. The caller holds mu.
func (g *guest) release(p *process) {
	p.released = true
	p.hangUp()
	g.settle(p)
}

func (g *guest) forget(p *process) {
	delete(g.processes, p.id)
	if p.main {
		g.stop(nil)
	}
}

// killAll ends every process. The caller holds mu.
func (g *guest) killAll() {
	if g.cfg.Init {
		if !g.cfg.Relayed || !killInside("/proc") {
			_ = unix.Kill(-1, unix.SIGKILL) // everything in this PID namespace but ourselves (kill(2))
		}
		return
	}
	for _, p := range g.processes {
		if !p.reaped || p.main {
			_ = unix.Kill(-p.pid, unix.SIGKILL)
		}
	}
}
