package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/atomicfile"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// The reserve is a file of so many bytes that takes room on the disk until the end of the run, which can so be recorded
// when the disk is full.
const (
	reserveFile = "reserve"
	reserveSize = 64 << 10
)

// start makes the sandbox and starts the command. A start that failed for good is the run's end: it is published and
// nil is returned.
func (s *supervisor) start(ctx context.Context) error {
	err := s.tryStart(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var failure *startError
	if !errors.As(err, &failure) {
		failure = &startError{code: 125, err: err}
	}
	s.Logger.Error("the run could not be started", "error", err)
	if err := s.Runtime.Remove(context.WithoutCancel(ctx), s.ref()); err != nil {
		s.Logger.Error("what was set up could not be taken down", "error", err)
	}
	err = s.note(s.Folder.Do(run.EventError, time.Now(), func(r *run.Record) {
		r.Reason, r.ExitCode = failure.Error(), &failure.code
	}))
	if err != nil {
		return err
	}
	s.failed = &api.Failed{Code: failure.code, Error: failure.Error()}
	s.tell(api.Ready{State: string(run.Failed), Error: failure.Error(), Code: failure.code})
	s.publish(api.Exit{Code: failure.code, State: string(run.Failed), Reason: failure.Error()})
	return nil
}

// startError is a start that must not be tried again.
type startError struct {
	code int // exit code for whoever waits
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func (s *supervisor) tryStart(ctx context.Context) error {
	if s.state() == run.Starting {
		if err := s.begin(); err != nil {
			return err
		}
		if up, err := s.takeOver(ctx); up || err != nil {
			return err
		}
	}
	if s.Start == nil {
		return errors.New("it was interrupted while it was starting, and its environment is not kept on disk: start it anew")
	}
	if err := s.Runtime.Remove(ctx, s.ref()); err != nil { // what a killed predecessor began
		return fmt.Errorf("clear an interrupted start: %w", err)
	}
	secret, err := s.makeSandbox(ctx)
	if err != nil {
		return err
	}
	s.connectTo(secret)
	if err := s.link.connect(ctx); err != nil {
		return fmt.Errorf("reach the sandbox: %w", err)
	}
	if report, err := s.Runtime.Report(ctx, s.ref()); err == nil {
		s.report = report
	}
	return s.spawn(ctx)
}

// makeSandbox makes the sandbox and all that its command needs, and returns the line's secret. A sandbox does nothing
// until its command is started, so it is made while the disk writes and the way out is prepared.
func (s *supervisor) makeSandbox(ctx context.Context) (secret []byte, err error) {
	secret = newSecret()
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	spec := s.spec(secret)
	spec.Trusted = func(ctx context.Context) error {
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	group.Go(func() (err error) {
		if s.network == nil {
			s.network, err = s.openNetwork(ctx)
		}
		if err == nil {
			close(ready)
		}
		return err
	})
	group.Go(func() error { return s.writeStart(secret) })
	group.Go(func() error { return s.startSandbox(ctx, spec) }) // takes longest; what is last here runs first
	return secret, group.Wait()
}

// writeStart writes all that must be on disk before the command is started, and starts who must be there then.
func (s *supervisor) writeStart(secret []byte) error {
	if s.state() == run.Created {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if err := s.dir.WriteFile(reserveFile, make([]byte, reserveSize), 0o600); err != nil {
		return fmt.Errorf("reserve room for the end: %w", err)
	}
	if err := atomicfile.Write(s.dir, secretFile, secret, 0o600); err != nil {
		return fmt.Errorf("keep the line's secret: %w", err)
	}
	return s.beGuarded()
}

// startSandbox starts the sandbox. Until it has its image mounted, nobody may remove that.
func (s *supervisor) startSandbox(ctx context.Context, spec sandbox.Spec) error {
	layers, release, err := imageLayers(ctx, s.home(), s.Folder.Record().Plan)
	if err != nil {
		return err
	}
	defer release()
	spec.Image.Layers = layers
	return s.Runtime.Start(ctx, spec)
}

// spec is what the plan asks of the runtime.
func (s *supervisor) spec(secret []byte) sandbox.Spec {
	rec := s.Folder.Record()
	p := rec.Plan
	spec := sandbox.Spec{
		Ref:       s.ref(),
		Hostname:  cmp.Or(p.Hostname, hostname(rec.Name)),
		Image:     imageOf(p),
		Workspace: p.Workspace,
		Mounts:    p.Mounts,
		Tools:     p.Tools,
		User:      p.User,
		Limits:    p.Limits,
		Secret:    secret,
		Network:   p.Network != nil,
		TrustFile: s.trust(p),
		Forbidden: []string{s.home()},
	}
	if wantsAgent(p) {
		spec.SSHAgent, spec.KnownHostsFile = true, filepath.Join(s.Folder.Dir(), knownFile)
	}
	return spec
}

// imageOf is the plan's, if it has one. The command's directory is made in it.
func imageOf(p plan.Plan) sandbox.Image {
	if p.Image == "" {
		return sandbox.Image{}
	}
	return sandbox.Image{Ref: p.Image, Digest: p.ImageDigest, User: p.ImageUser, Dir: p.WorkDir}
}

// hostname makes a run's name one (RFC 1123, 2.1).
func hostname(name string) string {
	return strings.Trim(strings.NewReplacer("_", "-", ".", "-").Replace(name), "-")
}

// begin records that a start begins. If that cannot be recorded there is no run.
func (s *supervisor) begin() error {
	rec := s.Folder.Record()
	if rec.Attempts >= tries {
		return fmt.Errorf("%d supervisors died while they were starting it; see %s", rec.Attempts, filepath.Join(s.Folder.Dir(), run.FileLog))
	}
	count := func(r *run.Record) { r.Attempts++ }
	if rec.State == run.Starting {
		return s.Folder.Update(count)
	}
	return s.Folder.Do(run.EventStart, time.Now(), count)
}

// takeOver goes on with a command that a predecessor started but did not live to record: it must not be started twice.
// False if there is none; a sandbox may be there all the same.
func (s *supervisor) takeOver(ctx context.Context) (up bool, err error) {
	secret, err := s.dir.ReadFile(secretFile)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the line's secret: %w", err)
	}
	if s.network, err = s.openNetwork(ctx); err != nil {
		return false, err
	}
	s.connectTo(secret)
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := s.link.connect(limited); err != nil || !s.link.runsMain() { // a guest without a supervisor and a command ends
		s.Logger.Info("nothing of an interrupted start can be used", "error", err)
		s.link.drop()
		return false, ctx.Err()
	}
	return true, s.running()
}

// running notes that the command runs. Who waits for the run is told before the disk is, if that can be: a stop may
// come from that moment on, so it finds the run up.
func (s *supervisor) running() error {
	if err := s.Folder.Move(run.EventUp, time.Now(), nil); err != nil {
		return err
	}
	s.audit.event("started", startedFields(s.report)...)
	if s.Start != nil && s.Start.Watched {
		s.announce(run.Running)
	}
	return s.note(s.Folder.Save())
}

// environment is the command's.
func (s *supervisor) environment() []string {
	if s.network == nil {
		return s.Start.Env
	}
	return s.network.environment(s.Start.Env)
}

// spawn starts the run's command in a sandbox that is up.
func (s *supervisor) spawn(ctx context.Context) error {
	plan := s.Folder.Record().Plan
	size := s.beginTerminal()
	err := s.link.send(line.Spawn{
		Process: line.Main, Args: plan.Command, Env: s.environment(), Dir: plan.WorkDir, Stdin: plan.Stdin, TTY: plan.TTY,
		Rows: size.Rows, Cols: size.Cols,
	})
	if err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	for {
		msg, err := s.link.next(ctx)
		if err != nil {
			return fmt.Errorf("start the command: %w", err)
		}
		switch m := msg.(type) {
		case line.Failed:
			return &startError{code: m.Code, err: errors.New(m.Error)}
		case line.Spawned:
			return s.running()
		}
	}
}

// newSecret makes a secret for a line.
func newSecret() []byte {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails (crypto/rand)
	return secret
}
