package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/atomicfile"
	"moat/internal/audit"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// secretFile holds the line's secret in the run's folder, for successors.
const secretFile = "guest.key"

// The reserve is a file of so many bytes that takes room on the disk until the end of the run, which can so be recorded
// when the disk is full.
const (
	reserveFile = "reserve"
	reserveSize = 64 << 10
)

// saveRetry is how long to wait before a record that could not be saved is tried again.
const saveRetry = 2 * time.Second

// note settles a change of the record that could not be saved: it counts all the same, because the run lives on. What
// is on disk is then older than the truth; the next change, or the end of the run, tries again.
func (s *supervisor) note(err error) error {
	var unsaved *run.SaveError
	if !errors.As(err, &unsaved) {
		return err
	}
	s.Logger.Error("the run's record could not be saved", "error", err)
	s.warn(fmt.Sprintf("the run's record could not be saved: %v", err))
	return nil
}

// ref names the run's sandbox.
func (s *supervisor) ref() sandbox.Ref {
	return sandbox.Ref{ID: s.Folder.Record().ID, Dir: filepath.Join(s.Folder.Dir(), run.DirSandbox)}
}

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

// outOfMemory tells if the kernel ended processes of the sandbox because its memory limit was reached; "" if not.
func (s *supervisor) outOfMemory(ctx context.Context) string {
	report, err := s.Runtime.Report(ctx, s.ref())
	if err != nil || report.OOMKills == 0 {
		return ""
	}
	return fmt.Sprintf("the memory limit was reached %d times, and the kernel ended a process each time", report.OOMKills)
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

// home is $MOAT_HOME.
func (s *supervisor) home() string { return filepath.Dir(filepath.Dir(s.Folder.Dir())) }

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

// resume finds the guest of a run that a predecessor started. A sandbox that is gone is the run's end.
func (s *supervisor) resume(ctx context.Context) error {
	secret, err := s.dir.ReadFile(secretFile)
	if err != nil {
		return fmt.Errorf("read the line's secret: %w", err)
	}
	s.connectTo(secret)
	s.resumeStop()
	close(s.resumed) // a guest that does not answer can be stopped, too
	err = s.link.connect(ctx)
	switch {
	case errors.Is(err, sandbox.ErrGone) && s.stop.removed.Load():
		return s.vanished(ctx)
	case errors.Is(err, sandbox.ErrGone):
		return s.finish(run.EventGone, line.Exit{}, "supervisor and sandbox were found gone")
	case err != nil:
		return err
	}
	s.askToEnd()
	return s.note(s.Folder.Update(func(r *run.Record) { r.Attempts++ }))
}

// connectTo prepares the line to the run's guest.
func (s *supervisor) connectTo(secret []byte) {
	s.link = &link{
		dial:      func(ctx context.Context) (net.Conn, error) { return s.Runtime.Dial(ctx, s.ref()) },
		secret:    secret,
		main:      s,
		logger:    s.Logger,
		tapped:    s.tapped,
		processes: make(map[uint32]*process),
	}
}

// finish records the end of the run and tells everybody. Only when it is on disk the guest is let go.
func (s *supervisor) finish(how run.Event, exit line.Exit, reason string) error {
	if err := s.output.Sync(); err != nil {
		s.Logger.Error("output record could not be synced", "error", err)
	}
	if s.missing > 0 {
		s.audit.event("gap", audit.Text("what", "room"), audit.Text("why", s.gap()))
	}
	ended := time.Now()
	if how == run.EventGone && !s.output.LastTime().IsZero() {
		ended = s.output.LastTime()
	}
	if err := s.removeFiles(reserveFile); err != nil { // room for what follows
		s.Logger.Error("cannot give up the reserve", "error", err)
	}
	if s.network != nil {
		if err := s.network.close(); err != nil {
			s.Logger.Error("the way out was not closed in order", "error", err)
		}
	}
	err := s.note(s.Folder.Do(how, ended, func(r *run.Record) {
		r.Reason, r.CleanupPending = joinReasons(reason, s.gap()), true
		if how == run.EventEnd {
			r.ExitCode, r.Signal = &exit.Code, exit.Signal
		}
	}))
	if err != nil {
		return err
	}
	s.publish(s.recordedEnd())
	return nil
}

// vanished finishes a run whose guest is gone without a word while it was supervised. If that was our doing, it was
// the end of a stop.
func (s *supervisor) vanished(ctx context.Context) error {
	if s.stop.removed.Load() {
		return s.finish(run.EventEnd, line.Exit{Code: 128 + sigKILL, Signal: sigKILL}, "its guest did not answer, so its sandbox was removed")
	}
	if reason := s.outOfMemory(ctx); reason != "" {
		return s.finish(run.EventError, line.Exit{}, reason)
	}
	return s.finish(run.EventError, line.Exit{}, "the sandbox ended without telling how its command ended: it was killed from outside, or ran out of memory")
}

// recordedEnd is the end as the record has it.
func (s *supervisor) recordedEnd() api.Exit {
	rec := s.Folder.Record()
	end := api.Exit{Code: 125, Signal: rec.Signal, State: string(rec.State), Reason: rec.Reason}
	if rec.ExitCode != nil {
		end.Code = *rec.ExitCode
	}
	return end
}

// teardown takes down what start set up. It is the same on every path and may be repeated.
func (s *supervisor) teardown(ctx context.Context) error {
	if s.link != nil {
		if err := s.link.send(line.Release{Process: line.Main}); err != nil && !errors.Is(err, errNoLine) {
			s.Logger.Info("the guest was gone before it was released", "error", err)
		}
		s.link.drop()
	}
	if err := s.Runtime.Remove(ctx, s.ref()); err != nil {
		return fmt.Errorf("take the sandbox down: %w", err)
	}
	// The socket is not the guard's to remove: it may be dead. Who comes now reads the run's end from its folder.
	if err := s.removeFiles(secretFile, reserveFile, api.SocketName); err != nil {
		return err
	}
	return s.settle(ctx, func(r *run.Record) { r.CleanupPending = false })
}

// removeFiles removes what may be there from the run's folder.
func (s *supervisor) removeFiles(names ...string) error {
	for _, name := range names {
		if err := s.dir.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// joinReasons makes one sentence of several, of which some are empty.
func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(r string) bool { return r == "" }), "; ")
}

// settle makes a change and returns when it is on disk, or when the run's folder is not there any more: somebody has
// removed it, and there is nothing to keep up to date.
func (s *supervisor) settle(ctx context.Context, change func(*run.Record)) error {
	for {
		err := s.Folder.Update(change)
		var unsaved *run.SaveError
		if !errors.As(err, &unsaved) {
			return err
		}
		s.Logger.Error("the run's record could not be saved", "error", err)
		if _, err := os.Stat(s.Folder.Dir()); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err := sleep(ctx, saveRetry); err != nil {
			return err
		}
	}
}

// newSecret makes a secret for a line.
func newSecret() []byte {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails (crypto/rand)
	return secret
}
