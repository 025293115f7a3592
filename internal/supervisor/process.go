package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"moat/internal/line"
)

// process is a command that was started by moat exec: the guest's messages about it, waiting for its client.
type process struct {
	spawn line.Spawn

	mu      sync.Mutex
	queue   []line.Message
	cost    int    // of output in the queue: its bytes and outputCost for each message
	end     uint64 // number of the next output byte that the guest has not sent yet
	running bool
	ended   bool
	wake    chan struct{} // holds a token when there may be news
}

// outputCost is what a message in the queue takes besides its data; a guest counts it too.
const outputCost = 96

// push queues a message. Whatever a guest sends, the queue is bounded: it keeps at most line.Window of output
// unacknowledged, and one that sends more is lying; of all other messages only the newest matters, or the first.
func (p *process) push(msg line.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil // it repeats itself until it is released
	}
	switch m := msg.(type) {
	case line.Output:
		cost := len(m.Data) + outputCost
		switch {
		case m.Offset != p.end:
			return fmt.Errorf("output of process %d begins at %d, want %d", m.Process, m.Offset, p.end)
		case p.cost+cost > line.Window+line.MaxData:
			return fmt.Errorf("process %d has over %d bytes unacknowledged", m.Process, line.Window)
		}
		m.Data = bytes.Clone(m.Data)
		p.cost += cost
		p.end += uint64(len(m.Data))
		msg = m
	case line.InputDone:
		if last := len(p.queue) - 1; last >= 0 && p.queue[last].Kind() == line.KindInputDone {
			p.queue[last] = m
			return nil // and its reader was woken already
		}
	case line.Spawned:
		if p.running {
			return nil // the answer to a repeated Spawn
		}
		p.running = true
	case line.Exit, line.Failed:
		p.ended = true
	}
	p.queue = append(p.queue, msg)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns what is queued and empties the queue.
func (p *process) take() []line.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue
	p.queue, p.cost = nil, 0
	return q
}

// queued is the number of the first output byte that was not received.
func (p *process) queued() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func (p *process) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// exec starts a process. The caller calls forget when it is done with it.
func (l *link) exec(spawn line.Spawn) (*process, error) {
	p := &process{spawn: spawn, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	conn, full := l.conn, len(l.processes) >= line.MaxProcesses-1
	if conn != nil && !full {
		l.processes[spawn.Process] = p
	}
	l.mu.Unlock()
	switch {
	case conn == nil:
		return nil, errNoLine
	case full:
		return nil, fmt.Errorf("%d commands run in this sandbox already", line.MaxProcesses-1)
	}
	if err := sendTo(conn, spawn); err != nil {
		l.logger.Info("a command starts when the line is back", "error", err) // see adopt
	}
	return p, nil
}

// forget releases a process: if it still runs it is hung up.
func (l *link) forget(p *process) {
	l.mu.Lock()
	delete(l.processes, p.spawn.Process)
	l.mu.Unlock()
	// If the line is broken, the guest will be told when it is there again: see adopt.
	if err := l.send(line.Release{Process: p.spawn.Process}); err != nil && !errors.Is(err, errNoLine) {
		l.logger.Info("cannot release a command", "error", err)
	}
}
