package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
)

// openTimeout bounds the opening of a line: the guest answers at once or is not there.
const openTimeout = 10 * time.Second

// sendTimeout bounds how long a guest may leave a message unread. It reads whatever else it does, so one that does not
// is broken or hostile, and must not hold up those who want to end the run.
const sendTimeout = 5 * time.Second

// errNoLine is returned for what cannot be sent because the line is broken just now.
var errNoLine = errors.New("the sandbox cannot be reached at the moment")

// A mainProcess is told what concerns the run's own command. Its methods are called by the goroutine that receives.
type mainProcess interface {
	// offset is the number of the first output byte that is not recorded yet.
	offset() uint64
	// wanted is offset for a guest whose oldest byte has the number first.
	wanted(first uint64) uint64
	// store records a piece of output; it blocks until that is done. An error breaks the line.
	store(ctx context.Context, out line.Output) error
	// inputDone hears how much of a source's input was taken.
	inputDone(done line.InputDone)
	// openDoor serves the sandbox's door, whose sockets it closes, until ctx is done.
	openDoor(ctx context.Context, door line.DoorSockets)
}

// link is the supervisor's end of the line. One goroutine connects and receives; any may send.
type link struct {
	dial   func(context.Context) (net.Conn, error) // sandbox.ErrGone when it is gone for certain
	secret []byte
	main   mainProcess
	logger *slog.Logger
	tapped func() // hears that the command's terminal was borrowed; nil: nobody wants to

	mu        sync.Mutex
	conn      *line.Conn // nil while broken
	asked     bool       // the command's terminal was asked for
	tap       *tap       // reads it; nil: the guest does
	shut      func()     // shuts the door; nil if it is shut
	doors     sync.WaitGroup
	opened    chan struct{} // closed when there is a connection; nil if nobody waits for it
	hasMain   bool          // the guest had the run's command when the line was opened
	processes map[uint32]*process
	mainInput map[uint64]uint64 // input of the command that was taken, by source
}

// connect opens the line, trying again until it works, the sandbox is gone, or ctx ends.
func (l *link) connect(ctx context.Context) error {
	l.drop()
	wait := 20 * time.Millisecond
	for {
		err := l.connectOnce(ctx)
		if err == nil || errors.Is(err, sandbox.ErrGone) {
			return err
		}
		l.logger.Warn("cannot open the line", "error", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, 2*time.Second)
	}
}

func (l *link) connectOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	stream, err := l.dial(ctx)
	if err != nil {
		return err
	}
	conn, welcome, err := line.Open(ctx, stream, l.secret)
	if err != nil {
		stream.Close()
		return fmt.Errorf("open the line: %w", err)
	}
	if err := l.adopt(conn, welcome); err != nil {
		conn.Close()
		return err
	}
	return nil
}

// adopt takes a fresh connection into use: it says what is wanted of each process that both sides know, and releases
// those that only the guest knows.
func (l *link) adopt(conn *line.Conn, welcome line.Welcome) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := make(map[uint32]bool)
	l.hasMain = false
	for _, p := range welcome.Processes {
		there[p.Process] = true
		var err error
		switch known := l.processes[p.Process]; {
		case p.Process == line.Main:
			l.hasMain, l.mainInput = true, p.Input
			err = sendTo(conn, line.Resume{Process: p.Process, Offset: l.main.wanted(p.First)})
		case known != nil:
			err = sendTo(conn, line.Resume{Process: p.Process, Offset: known.queued()})
		default:
			err = sendTo(conn, line.Release{Process: p.Process})
		}
		if err != nil {
			return fmt.Errorf("resume process %d: %w", p.Process, err)
		}
	}
	for id, p := range l.processes {
		if there[id] {
			continue
		}
		if p.started() {
			_ = p.push(line.Failed{Process: id, Code: 125, Error: "the sandbox lost the command"}) // only output is refused
		} else if err := sendTo(conn, p.spawn); err != nil {
			return fmt.Errorf("start process %d: %w", id, err)
		}
	}
	l.conn = conn
	if l.opened != nil {
		close(l.opened)
		l.opened = nil
	}
	return nil
}

// runsMain reports whether the guest had the run's command when the line was opened.
func (l *link) runsMain() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasMain
}

// borrow asks for the command's terminal, to read it without the guest.
func (l *link) borrow() error {
	conn := l.current()
	if conn == nil || !conn.PassesFiles() {
		return nil
	}
	l.mu.Lock()
	l.asked = true
	l.mu.Unlock()
	return sendTo(conn, line.Borrow{Process: line.Main})
}

// tapTerminal reads the command's terminal, which the guest has lent, until it ends or is given back. What ends it
// otherwise breaks the line.
func (l *link) tapTerminal(ctx context.Context, conn *line.Conn, files line.Files) error {
	l.mu.Lock()
	asked := l.asked
	l.mu.Unlock()
	if !asked {
		return errors.New("the guest lends a terminal that nobody asked for")
	}
	t, err := openTap(files)
	if err != nil {
		return fmt.Errorf("borrow the terminal: %w", err)
	}
	l.giveBack()
	ctx, t.cancel = context.WithCancel(ctx)
	l.mu.Lock()
	l.tap = t
	l.mu.Unlock()
	if l.tapped != nil {
		l.tapped()
	}
	go func() { // stop waits for it
		if err := t.run(ctx, l.main.store); err != nil {
			l.logger.Warn("the terminal cannot be read", "error", err)
			conn.Close()
		}
	}()
	return nil
}

// keyboard opens the command's terminal, if it is borrowed. The caller closes it.
func (l *link) keyboard() *os.File {
	l.mu.Lock()
	t := l.tap
	l.mu.Unlock()
	if t == nil {
		return nil
	}
	tty, err := t.open()
	if err != nil {
		return nil // it has just ended
	}
	return tty
}

// giveBack lets the guest read the terminal again. What it sends from then on follows what is recorded.
func (l *link) giveBack() {
	l.mu.Lock()
	t := l.tap
	l.tap = nil
	l.mu.Unlock()
	if t != nil {
		t.stop()
	}
}

// drop gives the terminal back and closes the connection, if there is one, and with it the door: the guest keeps it shut
// until there is another.
func (l *link) drop() {
	l.giveBack()
	l.mu.Lock()
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
	if l.shut != nil {
		l.shut()
		l.shut = nil
	}
	l.mu.Unlock()
	l.doors.Wait()
}

// takeDoor takes over the sockets of the sandbox's door. err is why there are none: then nobody is let out.
func (l *link) takeDoor(ctx context.Context, door line.DoorSockets, err error) {
	if err != nil {
		l.logger.Error("the door cannot be used", "error", err)
		return
	}
	ctx, shut := context.WithCancel(ctx)
	l.mu.Lock()
	if l.shut != nil {
		l.shut()
	}
	l.shut = shut
	l.mu.Unlock()
	l.doors.Go(func() { l.main.openDoor(ctx, door) })
}

// current is the connection of this moment; nil while the line is broken.
func (l *link) current() *line.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// await waits until there is a connection; nil without an error if done was closed first.
func (l *link) await(ctx context.Context, done <-chan struct{}) (*line.Conn, error) {
	for {
		l.mu.Lock()
		conn := l.conn
		if conn == nil && l.opened == nil {
			l.opened = make(chan struct{})
		}
		opened := l.opened
		l.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-opened:
		case <-done:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// send sends one message, or fails with errNoLine while the line is broken.
func (l *link) send(msg line.Message) error { return l.sendOn(l.current(), msg) }

// sendOn is send for messages that are only worth something after those that were sent on the same connection before.
func (l *link) sendOn(conn *line.Conn, msg line.Message) error {
	if conn == nil || conn != l.current() {
		return errNoLine
	}
	return sendTo(conn, msg)
}

// sendTo sends on a connection, which is closed if that takes too long.
func sendTo(conn *line.Conn, msg line.Message) error {
	defer time.AfterFunc(sendTimeout, func() { conn.Close() }).Stop()
	return conn.Send(msg)
}

// receive handles messages until the command's end is reported. An error means that the line broke.
func (l *link) receive(ctx context.Context) (line.Exit, error) {
	for {
		msg, err := l.next(ctx)
		if err != nil {
			return line.Exit{}, err
		}
		if exit, ok := msg.(line.Exit); ok && exit.Process == line.Main {
			l.giveBack()
			return exit, nil
		}
	}
}

// next receives one message, hands it to whom it concerns, and returns it.
func (l *link) next(ctx context.Context) (line.Message, error) {
	conn := l.current()
	if conn == nil {
		return nil, errNoLine
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	msg, err := conn.Next()
	if err != nil {
		return nil, err
	}
	return msg, l.dispatch(ctx, conn, msg)
}

func (l *link) dispatch(ctx context.Context, conn *line.Conn, msg line.Message) error {
	switch m := msg.(type) {
	case line.Output:
		if m.Process != line.Main {
			return l.deliver(m.Process, msg)
		}
		l.giveBack() // it has it, or would not send this
		if err := l.main.store(ctx, m); err != nil {
			return err
		}
		if conn.Buffered() {
			return nil // more is here already: one acknowledgement will do
		}
		return sendTo(conn, line.Ack{Process: line.Main, Offset: l.main.offset()})
	case line.Files:
		if slices.Equal(m.Names, line.LoanNames()) {
			return l.tapTerminal(ctx, conn, m)
		}
		door, err := m.DoorSockets()
		l.takeDoor(ctx, door, err)
		return nil
	case line.Door:
		door, err := conn.DoorSockets(m)
		l.takeDoor(ctx, door, err)
		return nil
	case line.InputDone:
		if m.Process != line.Main {
			return l.deliver(m.Process, msg)
		}
		l.mu.Lock()
		if l.mainInput == nil || len(l.mainInput) >= line.MaxSources {
			l.mainInput = make(map[uint64]uint64) // the oldest are of no use to anybody who still asks
		}
		l.mainInput[m.Source] = m.Offset
		l.mu.Unlock()
		l.main.inputDone(m)
		return nil
	case line.Spawned:
		return l.deliver(m.Process, msg)
	case line.Failed:
		return l.deliver(m.Process, msg)
	case line.Exit:
		return l.deliver(m.Process, msg)
	default:
		return fmt.Errorf("the guest sent an unexpected %T", msg)
	}
}

// deliver hands a message to an exec'ed process; one that nobody knows any more is let go.
func (l *link) deliver(id uint32, msg line.Message) error {
	if id == line.Main {
		return nil
	}
	l.mu.Lock()
	p := l.processes[id]
	l.mu.Unlock()
	if p == nil {
		return l.send(line.Release{Process: id})
	}
	return p.push(msg)
}

// inputTaken tells how much of a source's input the command had taken when last heard of.
func (l *link) inputTaken(source uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mainInput[source]
}
