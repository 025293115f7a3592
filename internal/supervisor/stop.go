package supervisor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"moat/internal/line"
	"moat/internal/run"
)

// Signals that a stop sends, by their Linux numbers: the guest runs on Linux whatever the supervisor runs on.
const (
	sigTERM = 15
	sigKILL = 9
)

// killPatience is how long after SIGKILL the guest may take to report the end before its sandbox is removed by force.
const killPatience = 5 * time.Second

// stopper is the wish to end the run, whoever had it and however often. A later wish may only shorten the grace.
type stopper struct {
	mu       sync.Mutex
	deadline time.Time     // zero: nobody wants a stop
	news     chan struct{} // holds a token when the deadline moved
	forced   chan struct{} // closed when the deadline has passed
	removed  atomic.Bool   // the sandbox was removed, because it did not end
	owed     atomic.Bool   // SIGTERM is still to be sent
}

// by moves the deadline to t unless it is earlier already.
func (st *stopper) by(t time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.deadline.IsZero() || t.Before(st.deadline) {
		st.deadline = t
	}
	select {
	case st.news <- struct{}{}:
	default:
	}
}

// due tells how long it is to the deadline; false if there is none.
func (st *stopper) due() (time.Duration, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return time.Until(st.deadline), !st.deadline.IsZero()
}

// requestStop begins the end of the run: SIGTERM now and, if the command still runs after grace, SIGKILL. That is on
// record before anything happens, so that the end is known to be a stop.
func (s *supervisor) requestStop(grace time.Duration) error {
	now := time.Now()
	wish := &run.Stop{At: now.UTC(), Grace: grace.Milliseconds()}
	err := s.note(s.Folder.Do(run.EventStop, now, func(r *run.Record) { r.Stop = wish }))
	var already *run.TransitionError
	switch {
	case errors.As(err, &already): // somebody else has begun it, or the run has just ended
	case err != nil:
		return err
	case grace > 0: // without grace there is nothing to ask for
		s.stop.owed.Store(true)
		s.askToEnd()
	}
	s.stop.by(now.Add(grace))
	return nil
}

// resumeStop goes on with a stop that a predecessor began. If the clock was set back since, it begins anew.
func (s *supervisor) resumeStop() {
	if wish := s.Folder.Record().Stop; wish != nil {
		now, grace := time.Now(), time.Duration(wish.Grace)*time.Millisecond
		s.stop.by(now.Add(min(wish.At.Add(grace).Sub(now), grace)))
		s.stop.owed.Store(true) // the predecessor may have died before it could
		s.askToEnd()
	}
}

// enforceStop ends the command by force when a stop's grace is over. It returns when the command has ended.
func (s *supervisor) enforceStop(ctx context.Context) error {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	alarm.Stop()
	killed := false
	for {
		select {
		case <-s.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop.news:
			if left, wanted := s.stop.due(); wanted && !killed {
				alarm.Reset(max(left, 0))
			}
		case <-alarm.C:
			if killed {
				s.force(ctx)
			} else {
				close(s.stop.forced)
				s.signal(sigKILL) // if it is not sent, the sandbox is removed
				killed = true
			}
			alarm.Reset(killPatience)
		}
	}
}

// force removes the sandbox under a guest that does not answer.
func (s *supervisor) force(ctx context.Context) {
	s.Logger.Error("the guest does not answer: its sandbox is removed")
	s.stop.removed.Store(true)
	if err := s.Runtime.Remove(ctx, s.ref()); err != nil {
		s.Logger.Error("cannot remove the sandbox", "error", err)
	}
}

// askToEnd sends SIGTERM if it is owed. While the line is broken it remains so, and whoever opens another one asks again.
func (s *supervisor) askToEnd() {
	for s.stop.owed.Swap(false) {
		conn := s.link.current()
		if s.signal(sigTERM) {
			return
		}
		s.stop.owed.Store(true)
		if now := s.link.current(); now == nil || now == conn {
			return
		}
	}
}

// signal sends a signal to the run's command. It reports false if the line is broken.
func (s *supervisor) signal(number int) bool {
	err := s.link.send(line.Signal{Process: line.Main, Signal: number})
	if err != nil {
		s.Logger.Warn("a signal could not be sent", "signal", number, "error", err)
	}
	return err == nil
}
