package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"moat/internal/api"
	"moat/internal/audit"
	"moat/internal/line"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// secretFile holds the line's secret in the run's folder, for successors.
const secretFile = "guest.key"

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

// outOfMemory tells if the kernel ended processes of the sandbox because its memory limit was reached; "" if not.
func (s *supervisor) outOfMemory(ctx context.Context) string {
	report, err := s.Runtime.Report(ctx, s.ref())
	if err != nil || report.OOMKills == 0 {
		return ""
	}
	return fmt.Sprintf("the memory limit was reached %d times, and the kernel ended a process each time", report.OOMKills)
}

// home is $MOAT_HOME.
func (s *supervisor) home() string { return filepath.Dir(filepath.Dir(s.Folder.Dir())) }

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
