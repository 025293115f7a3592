// Package supervisor owns a run from start to end: it is the one host process that does.
//
// It promises what DESIGN calls "what always holds" for one run: only it writes the run's folder; every byte of
// output is recorded before it is acknowledged to the guest and before anybody sees it; a client never slows
// the run; whatever was set up is taken down. It may be killed at any moment: a Guard starts a successor, which
// finds in the run's record and output what there is to know, asks the guest for the rest and goes on.
//
// What a run is on disk belongs to package run, what it prints to package journal, how a sandbox is made to
// package sandbox, what is spoken with the guest to package line, and with clients to package api.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/audit"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// Config is what a supervisor is given. The caller holds the run's lock for as long as it lives.
type Config struct {
	Folder   *run.Folder     // the run's
	Runtime  sandbox.Runtime // the one that the record names
	Listener net.Listener    // the run's socket; Run closes it
	Answer   io.WriteCloser  // one api.Ready message is written to it; nil when nobody waits
	Memory   *os.File        // anonymous memory that outlives supervisors; nil: there is none
	Start    *api.Start      // nil when the run is adopted rather than started
	Version  string          // of moat
	Guard    func() error    // starts the run's guard; called once, before anybody is told that the run is there. Nil: there is one
	Logger   *slog.Logger
}

// tries is how often a start is begun before a run whose supervisors keep dying is given up.
const tries = 3

// drainTimeout bounds how long clients may take to read the end of a run that is over; what they have not read by
// then is in the run's folder.
const drainTimeout = 30 * time.Second

// startTimeout bounds how long clients wait for a run that is starting.
const startTimeout = 30 * time.Second

// supervisor is one run being supervised.
type supervisor struct {
	Config
	dir      *os.Root // the run's folder
	output   *journal.Output
	audit    *auditor       // enters everything in the audit record
	terminal *terminal      // nil if the run has none
	network  *network       // nil if there is no way out; set before up is closed
	told     sync.Map       // refusals that clients were told of
	link     *link          // nil until there is a sandbox
	report   sandbox.Report // about a start that succeeded
	missing  uint64         // bytes of output that could not be recorded; of the goroutine that receives from the guest

	stop    stopper
	clients clients

	audience audience
	up       chan struct{} // closed when the command runs, or never will
	once     sync.Once     // closes up
	resumed  chan struct{} // closed when a command that a predecessor started can be stopped, whether its guest answers or not
	ended    chan struct{} // closed when final and failed hold the end of the command
	final    api.Exit
	failed   *api.Failed // set if the command never started
}

// Run supervises the run until it is over. Nil means that nothing is left to do for anybody; after an error a
// successor should go on.
func Run(ctx context.Context, cfg Config) error {
	s := &supervisor{Config: cfg, up: make(chan struct{}), resumed: make(chan struct{}), ended: make(chan struct{})}
	s.stop.news, s.stop.forced = make(chan struct{}, 1), make(chan struct{})
	defer cfg.Listener.Close()
	if err := s.open(); err != nil {
		s.tell(api.Ready{State: string(run.Failed), Error: err.Error(), Code: 125})
		return err
	}
	defer s.close()

	group, ctx := errgroup.WithContext(ctx)
	server := newServer(s)
	group.Go(func() error { return server.serve(ctx, cfg.Listener) })
	group.Go(func() error { return s.enforceStop(ctx) })
	group.Go(func() error { return s.audit.loop(ctx) })
	if s.terminal != nil {
		live := s.output.Position()
		group.Go(func() error { return s.terminal.Follow(ctx, s.dir, s.output, live) })
	}
	group.Go(func() error {
		defer server.drain(ctx, drainTimeout)
		return s.live(ctx)
	})
	err := group.Wait()
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// errOver ends the group when the run is over.
var errOver = errors.New("the run is over")

// open opens what the run has on disk.
func (s *supervisor) open() error {
	dir, err := os.OpenRoot(s.Folder.Dir())
	if err != nil {
		return fmt.Errorf("open the run's folder: %w", err)
	}
	output, cut, err := journal.OpenOutput(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("open the run's output record: %w", err), dir.Close())
	}
	if cut.Torn() {
		s.Logger.Warn("the output record was cut back to its last whole piece", "cut", cut)
	}
	s.dir, s.output = dir, output
	s.audience.at = output.Offset()
	if s.audit, err = s.openAudit(); err != nil {
		return errors.Join(err, output.Close(), dir.Close())
	}
	if s.Folder.Record().Plan.TTY {
		s.terminal = s.newTerminal()
	}
	return nil
}

// close is the reverse of open.
func (s *supervisor) close() {
	close(s.audit.quit)
	if s.network != nil {
		if err := s.network.close(); err != nil {
			s.Logger.Error("the way out was not closed in order", "error", err)
			s.audit.event("gap", audit.Text("what", "room"), audit.Text("why", err.Error()))
		}
	}
	if err := errors.Join(s.output.Close(), s.audit.close(s.state().Final()), s.dir.Close()); err != nil {
		s.Logger.Error("the run's folder could not be closed", "error", err)
	}
}

// live brings the run from wherever it is to its end.
func (s *supervisor) live(ctx context.Context) error {
	state := s.state()
	if state != run.Created { // whose guard is started beside the sandbox
		if err := s.beGuarded(); err != nil {
			return err
		}
	}
	var err error
	switch {
	case state == run.Created || state == run.Starting:
		err = s.start(ctx)
	case state.Final():
		s.publish(s.recordedEnd())
	default:
		if s.network, err = s.openNetwork(ctx); err != nil {
			// The command goes on without a way out, which is better than without anybody.
			s.Logger.Error("the network cannot be served", "error", err)
		}
		err = s.resume(ctx)
	}
	if err != nil {
		return err
	}
	s.announce(s.state())
	if !s.isEnded() {
		if err := s.pump(ctx); err != nil {
			return err
		}
	}
	if err := s.teardown(ctx); err != nil {
		return err
	}
	return errOver
}

// beGuarded starts the run's guard if there is none.
func (s *supervisor) beGuarded() error {
	if s.Guard == nil {
		return nil
	}
	err := s.Guard()
	s.Guard = nil
	return err
}

// Pauses before a line that broke is opened again.
const (
	pumpPause    = 10 * time.Millisecond
	pumpPauseMax = 5 * time.Second
)

// pump receives from the guest until the run's command has ended.
func (s *supervisor) pump(ctx context.Context) error {
	pause := pumpPause
	for {
		opened := time.Now()
		end, err := s.receive(ctx)
		switch {
		case err == nil:
			return s.finish(run.EventEnd, end, s.outOfMemory(ctx))
		case errors.Is(err, sandbox.ErrGone):
			return s.vanished(ctx)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		s.Logger.Warn("line to the guest broke", "error", err)
		// What breaks it at once again would do so for ever: a guest that does not keep to the protocol, a record that
		// cannot be written.
		if pause = min(2*pause, pumpPauseMax); time.Since(opened) > pumpPauseMax {
			pause = pumpPause
		}
		s.link.drop()
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		if err := s.link.connect(ctx); errors.Is(err, sandbox.ErrGone) {
			return s.vanished(ctx)
		} else if err != nil {
			return err
		}
		s.askToEnd()
	}
}

// receive receives from the guest until the command's end is reported. If the command has a terminal, it is borrowed.
func (s *supervisor) receive(ctx context.Context) (line.Exit, error) {
	if s.terminal != nil {
		if err := s.link.borrow(); err != nil {
			return line.Exit{}, err
		}
	}
	return s.link.receive(ctx)
}

// state returns the run's state.
func (s *supervisor) state() run.State { return s.Folder.Record().State }

// announce tells everybody that the command runs, or never will. Only the first time counts.
func (s *supervisor) announce(state run.State) {
	s.tell(api.Ready{State: string(state)})
	s.once.Do(func() { close(s.up) })
}

// tell answers whoever waits for the start; only the first answer counts.
func (s *supervisor) tell(r api.Ready) {
	if s.Answer == nil {
		return
	}
	rec := s.Folder.Record()
	r.ID, r.Name, r.Warnings = rec.ID, rec.Name, s.report.Warnings
	tell(s.Answer, r)
	s.Answer = nil
}

// tell writes a Ready message. That nobody waits for it any more, or that a predecessor has told it, is no error.
func tell(answer io.WriteCloser, r api.Ready) {
	_, _ = answer.Write(append(api.Encode(r), '\n'))
	_ = answer.Close()
}

// publish tells everybody that the command has ended. It is called once.
func (s *supervisor) publish(end api.Exit) {
	s.audit.end(s.Folder.Record())
	s.final = end
	close(s.ended)
}

// waitUp waits until the command runs and its guest answers, or never will.
func (s *supervisor) waitUp(ctx context.Context) error { return s.waitFor(ctx, s.up) }

// waitStoppable waits until a stop is of use.
func (s *supervisor) waitStoppable(ctx context.Context) error { return s.waitFor(ctx, s.resumed) }

// waitFor waits for up or earlier, but not for ever.
func (s *supervisor) waitFor(ctx context.Context, earlier <-chan struct{}) error {
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-s.up:
		return nil
	case <-earlier:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("the run is still %s after %v", s.state(), startTimeout)
	}
}

// isEnded reports whether the command has ended, or never started and never will.
func (s *supervisor) isEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
