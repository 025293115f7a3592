package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/egress/names"
	"moat/internal/journal"
	"moat/internal/policy"
	"moat/internal/sock"
)

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("the egress is closed")

const defaultConnections = 2048

// Egress lets out what policy allows, one run's. Its methods may be called by any number of goroutines.
type Egress struct {
	config Config
	names  *names.Table
	dns    *names.Responder
	meter  *Meter
	marks  []mark
	places chan struct{} // one for each connection that is served
	pipes  chan struct{} // see relay

	mu     sync.Mutex
	closed bool
	life   context.Context // of connections; made by the first Serve
	end    context.CancelFunc
	conns  sync.WaitGroup // connections and Serves; Add under mu
}

// New returns an Egress that Close ends. It listens to nothing yet.
func New(c Config) *Egress {
	if c.Names == nil {
		c.Names = names.NewTable()
	}
	if c.Meter == nil {
		c.Meter = NewMeter(c.Policy)
	}
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	if c.OriginalDst == nil {
		c.OriginalDst = wanted
	}
	if c.Refused == nil {
		c.Refused = func(Refusal) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Egress{config: c, names: c.Names, meter: c.Meter, marks: marksOf(c.Grants), places: make(chan struct{}, c.Connections),
		pipes: make(chan struct{}, maxBulk)}
	e.dns = names.NewResponder(names.Config{
		Table: c.Names, Policy: c.Policy, Upstream: c.Upstream,
		Pinned: func(host policy.Host) bool { return c.Dialer.Pinned(host, 0) },
		Record: func(r journal.Request) { c.Recorder.End(r) },
	})
	return e
}

// wanted is where a program wanted to go with a connection. One that was carried here says it itself, of others the kernel knows.
func wanted(conn net.Conn) (netip.AddrPort, error) {
	if c, ok := conn.(interface {
		OriginalDst() (netip.AddrPort, error)
	}); ok {
		return c.OriginalDst()
	}
	return sock.OriginalDst(conn)
}

// Serve serves what comes through a door until ctx is done (nil), Close is called (ErrClosed), or a socket of the door
// is broken. Then the sockets of this door are closed, and connections that came through it live on until they end, or
// until Close. It may be called again, also while another door is open.
func (e *Egress) Serve(ctx context.Context, door Door) error {
	defer door.close()
	life, ok := e.enter(ctx)
	if !ok {
		return ErrClosed
	}
	defer e.conns.Done()
	g, serving := errgroup.WithContext(ctx)
	defer context.AfterFunc(serving, door.close)()
	defer context.AfterFunc(life, door.close)()
	for _, l := range door.TCP {
		if l != nil {
			g.Go(func() error { return e.accept(serving, life, l, e.throughDoor) })
		}
	}
	if door.Proxy != nil {
		g.Go(func() error { return e.accept(serving, life, door.Proxy, e.throughProxy) })
	}
	for _, pc := range door.DNS {
		if pc != nil {
			g.Go(func() error { return e.dns.ServePacket(serving, pc) })
		}
	}
	g.Go(func() error { // a door may have no sockets; it is open all the same
		select {
		case <-serving.Done():
		case <-life.Done():
		}
		return nil
	})
	err := g.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case life.Err() != nil:
		return ErrClosed
	}
	return err
}

func (d Door) close() {
	for _, l := range d.TCP {
		if l != nil {
			_ = l.Close()
		}
	}
	for _, pc := range d.DNS {
		if pc != nil {
			_ = pc.Close()
		}
	}
	if d.Proxy != nil {
		_ = d.Proxy.Close()
	}
}

// enter counts a Serve and returns the context of its connections.
func (e *Egress) enter(ctx context.Context) (life context.Context, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, false
	}
	if e.life == nil {
		e.life, e.end = context.WithCancel(context.WithoutCancel(ctx))
	}
	e.conns.Add(1)
	return e.life, true
}

// Close ends every Serve and every connection, and returns when they have ended.
func (e *Egress) Close() error {
	e.mu.Lock()
	e.closed = true
	if e.end != nil {
		e.end()
	}
	e.mu.Unlock()
	e.conns.Wait()
	return nil
}

// accept takes connections from a listener, no more than there are places for: the others wait in its backlog.
func (e *Egress) accept(serving, life context.Context, l net.Listener, serve func(context.Context, net.Conn)) error {
	for {
		conn, err := l.Accept()
		if serving.Err() != nil || life.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			if !patient(serving, err) {
				return fmt.Errorf("accept from the sandbox: %w", err)
			}
			continue
		}
		if !e.start(life, conn, serve) {
			return nil
		}
	}
}

// patient waits a little after an error that may pass, such as too many open files, and reports whether it is one.
func patient(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) || !temporary(err) {
		return false
	}
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// start serves a connection in a goroutine of its own, and closes it, as soon as there is a place.
func (e *Egress) start(life context.Context, conn net.Conn, serve func(context.Context, net.Conn)) bool {
	select {
	case e.places <- struct{}{}:
	case <-life.Done():
		_ = conn.Close()
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		<-e.places
		_ = conn.Close()
		return false
	}
	e.conns.Add(1)
	go func() {
		defer e.conns.Done()
		defer func() { <-e.places }()
		ctx, cancel := context.WithCancel(life)
		defer cancel()
		defer conn.Close()
		defer e.recover(conn)
		serve(ctx, conn)
	}()
	return true
}

// recover keeps what goes wrong with one connection away from all others.
func (e *Egress) recover(conn net.Conn) {
	if problem := recover(); problem != nil {
		abort(conn)
		e.config.Logger.Error("a connection panicked", "panic", problem, "stack", string(debug.Stack()))
	}
}

// abort closes a connection so that the other end sees a reset, where the connection can do that.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
