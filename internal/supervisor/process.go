package supervisor

import (
	"bytes"
	"fmt"
	"sync"

	"moat/internal/line"
)

// process is a command that was started by moat exec: the guest's messages about it, waiting for its client.
type process struct {
	spawn line.Spawn

	mu      sync.Mutex
	queue   []line.Message
	bytes   int    // of output in the queue
	end     uint64 // number of the next output byte that the guest has not sent yet
	running bool
	wake    chan struct{} // holds a token when there may be news
}

// push queues a message. The guest keeps at most line.Window bytes unacknowledged; one that sends more is lying.
func (p *process) push(msg line.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := msg.(type) {
	case line.Output:
		if m.Offset != p.end {
			return fmt.Errorf("output of process %d begins at %d, want %d", m.Process, m.Offset, p.end)
		}
		if p.bytes+len(m.Data) > line.Window+line.MaxData {
			return fmt.Errorf("process %d has over %d bytes unacknowledged", m.Process, line.Window)
		}
		m.Data = bytes.Clone(m.Data)
		p.bytes += len(m.Data)
		p.end += uint64(len(m.Data))
		msg = m
	case line.Spawned:
		if p.running {
			return nil // the answer to a repeated Spawn
		}
		p.running = true
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
	p.queue, p.bytes = nil, 0
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
	if err := conn.Send(spawn); err != nil {
		l.logger.Info("a command starts when the line is back", "error", err) // see adopt
	}
	return p, nil
}

// forget releases a process: if it still runs it is hung up.
func (l *link) forget(p *process) {
	l.mu.Lock()
	delete(l.processes, p.spawn.Process)
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return // the guest will be told when it is there again: see adopt
	}
	if err := conn.Send(line.Release{Process: p.spawn.Process}); err != nil {
		l.logger.Info("cannot release a command", "error", err)
	}
}
