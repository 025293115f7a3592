package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"moat/internal/line"
)

// Reasons for which Serve ends before the first command was started.
var (
	ErrNoSupervisor = errors.New("the supervisor ended before it started a command")
	ErrNotInit      = errors.New("the guest is not the first process of a sandbox")
)

// Config is what a guest needs to know.
type Config struct {
	Listener net.Listener         // where supervisors connect; Serve closes it
	Secret   []byte               // the run's secret, 32 bytes or more
	Lifeline io.ReadCloser        // ends when whoever makes the sandbox dies; Serve closes it; nil: none
	Door     []*os.File           // the sockets of OpenDoor, and perhaps that of OpenAgent; Serve closes them; nil: there is no way out
	Init     bool                 // this is PID 1 of a sandbox: reap, and end, every process there is
	Peer     func(net.Conn) error // who may try to prove itself; nil: Outside, with Relayed Started
	Relayed  bool                 // supervisors come by way of relays (Relay), so their connections pass no descriptors
	First    net.Conn             // with Relayed: from whoever makes the sandbox. It is a lifeline until a byte comes, and a supervisor's from there on; nil: none
	Log      *slog.Logger         // for developers; nil: none
}

// Serve is the guest: it runs commands for supervisors until the run's command has ended and was released, until
// it is told to shut down (nil in both cases), until ctx ends (its cause), or until whoever made the sandbox is
// gone before a command was started (ErrNoSupervisor). All processes that it started have ended when it returns,
// with Init all processes of the sandbox.
func Serve(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := newGuest(cfg)
	if cfg.Init {
		if err := g.becomeInit(); err != nil {
			return err
		}
		defer g.standing.close()
	}
	if cfg.Door != nil {
		var err error
		if g.door, err = newKeeper(cfg.Door, g.log); err != nil {
			return err
		}
		g.wait.Go(g.door.run)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)

	g.wait.Go(func() { g.accept(ctx) })
	g.wait.Go(func() { g.reapAll(ctx, children) })
	if cfg.Lifeline != nil {
		g.wait.Go(g.watchLifeline)
	}
	if cfg.First != nil {
		g.wait.Go(func() { g.serveFirst(ctx) })
	}
	var err error
	select {
	case <-g.quit:
		err = g.reason
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	cancel()
	g.takeDown()
	return err
}

// becomeInit makes of this process what PID 1 of a sandbox must be.
func (g *guest) becomeInit() error {
	if os.Getpid() != 1 {
		return ErrNotInit
	}
	runtime.GOMAXPROCS(min(maxProcs, runtime.GOMAXPROCS(0)))
	var err error
	if g.standing, err = openStanding(); err != nil {
		g.log.Warn("commands will not be killed before the guest when memory runs out", "error", err)
	}
	return Protect()
}

// guest is the state of a Serve.
type guest struct {
	cfg  Config
	log  *slog.Logger
	pool pool
	wait sync.WaitGroup // all goroutines

	line atomic.Pointer[session] // the newest proven connection; changed under mu

	moved atomic.Int64 // bytes of output since the memory was tidied
	tidy  *time.Timer

	standing *standing // nil without Init; used under mu
	door     *keeper   // nil without a door

	quit chan struct{}

	// mu is taken before a process's mutex. It is held while a process is started and while ended ones are
	// reaped, so that every process that is reaped is known, and that none is signalled after it was reaped.
	mu        sync.Mutex
	reason    error // valid when quit is closed
	stopped   bool
	started   bool // a command was: from now on the guest outlives supervisors
	ended     bool // the run's command has ended: nothing is started any more
	processes map[uint32]*process
	env       []string // of Main
	streams   map[*os.File]struct{}
}

func newGuest(cfg Config) *guest {
	switch {
	case cfg.Peer == nil && cfg.Relayed:
		cfg.Peer = Started
	case cfg.Peer == nil:
		cfg.Peer = Outside
	}
	g := &guest{
		cfg: cfg, log: cfg.Log, quit: make(chan struct{}),
		processes: map[uint32]*process{}, streams: map[*os.File]struct{}{},
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.tidy = time.AfterFunc(time.Hour, g.giveBack)
	g.tidy.Stop()
	return g
}

// stop makes Serve return. The caller holds mu.
func (g *guest) stop(reason error) {
	if !g.stopped {
		g.stopped, g.ended, g.reason = true, true, reason
		close(g.quit)
	}
}

// wake makes the present line look for something to send.
func (g *guest) wake() {
	if s := g.line.Load(); s != nil {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// What a guest may cost while nothing happens.
const (
	maxProcs  = 4               // processors that it uses; each has caches
	muchMoved = 8 << 20         // bytes of output after which it is worth while to tidy up
	calmTime  = 2 * time.Second // without reading so much again, until then
)

// calm notes that there is nothing to read on some stream.
func (g *guest) calm() {
	if g.moved.Load() >= muchMoved {
		g.moved.Store(0)
		g.tidy.Reset(calmTime)
	}
}

// giveBack returns memory that a burst of output left behind.
func (g *guest) giveBack() {
	g.pool.empty()
	debug.FreeOSMemory()
}

// watchLifeline waits for the end of the lifeline.
func (g *guest) watchLifeline() {
	_, _ = io.Copy(io.Discard, g.cfg.Lifeline) // an error is an end as well
	g.ownerLeft()
}

// ownerLeft ends the guest if whoever made the sandbox has gone before a command was started.
func (g *guest) ownerLeft() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.started {
		g.stop(ErrNoSupervisor)
	}
}

// serveFirst waits for the first connection to become a supervisor's, or to end.
func (g *guest) serveFirst(ctx context.Context) {
	nc := g.cfg.First
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	_, err := io.ReadFull(nc, make([]byte, 1))
	stop()
	if err == nil {
		g.welcome(ctx, nc, func() {})
	}
	_ = nc.Close()
	g.ownerLeft()
}

// takeDown ends all processes and goroutines.
func (g *guest) takeDown() {
	_ = g.cfg.Listener.Close()
	if g.cfg.Lifeline != nil {
		_ = g.cfg.Lifeline.Close()
	}
	g.mu.Lock()
	g.stop(nil)
	g.killAll()
	if !g.cfg.Init { // with the first process of a PID namespace the others end for certain
		g.reap(0)
	}
	for f := range g.streams {
		_ = f.Close()
	}
	for _, p := range g.processes {
		p.abandon()
	}
	g.tidy.Stop()
	g.mu.Unlock()
	if g.door != nil {
		g.door.end()
	}
	g.wait.Wait()
}

// Limits of accept.
const (
	maxHandshakes = 8 // at a time
	acceptPause   = 100 * time.Millisecond
)

// accept lets supervisors in.
func (g *guest) accept(ctx context.Context) {
	slots := make(chan struct{}, maxHandshakes)
	for {
		nc, err := g.cfg.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil { // too many files, for example: somebody else's fault, and no reason to end the run
			g.log.Warn("accept a connection", "error", err)
			if !pause(ctx, acceptPause) {
				return
			}
			continue
		}
		if err := g.cfg.Peer(nc); err != nil {
			g.log.Warn("refuse a connection", "error", err)
			_ = nc.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			_ = nc.Close()
			return
		}
		g.wait.Go(func() { g.welcome(ctx, nc, func() { <-slots }) })
	}
}

// welcome serves one that came, to the end of the connection. known is called when it was found out who it is.
func (g *guest) welcome(ctx context.Context, nc net.Conn, known func()) {
	if g.cfg.Relayed {
		nc = line.Relayed(nc)
	}
	conn, err := line.Accept(ctx, nc, g.cfg.Secret)
	known()
	if err != nil {
		g.log.Warn("refuse a connection", "error", err)
		return
	}
	newSession(g, conn).run(ctx)
}

// pause waits; it reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Outside returns an error for a peer that is inside this process's PID namespace: the kernel tells the peer of a
// unix socket as the number that it has here, which is 0 for a process outside (pid_namespaces(7)).
func Outside(nc net.Conn) error {
	cred, err := peerOfSocket(nc)
	if err == nil && cred.Pid != 0 {
		err = fmt.Errorf("process %d of the sandbox tried to speak to the guest", cred.Pid)
	}
	return err
}

// Started returns an error for a peer that is not root inside. Relays are, because whoever made the container starts them so;
// commands are only where that is wanted. All others are spared the proof.
func Started(nc net.Conn) error {
	cred, err := peerOfSocket(nc)
	if err == nil && cred.Uid != 0 {
		err = fmt.Errorf("process %d of user %d tried to speak to the guest", cred.Pid, cred.Uid)
	}
	return err
}
