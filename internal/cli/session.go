package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"moat/internal/api"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/run"
	"moat/internal/session"
	"moat/internal/term"
)

// attachment is a client attached to a run's output: what "moat run" and "moat attach" do once there is a run.
//
//	         ┌────────────── connection broke ◀─────────────┐
//	         ▼                                               │
//	[connecting] ── Started ──▶ [attached] ──────────────────┤
//	         │                      │                        │
//	 run is over: rest from disk    ├── Exit, Failed ──▶ the run's exit code
//	         └──▶ its exit code     ├── SIGTERM, SIGHUP, window after Ctrl+C ──▶ detached, 0
//	                                └── Ctrl+C twice ──▶ [stopping] ── Exit ──▶ the run's exit code
//
// One that only follows ("logs -f", "wait") ends with any signal as if it had been killed by it: 128+n, as "tail -f"
// and "docker logs -f" do. 0 would say that the run has ended.
//
// Signals belong to it while it lives, and to nobody else.
type attachment struct {
	app      *App
	home     *run.Home
	id       string
	name     string
	window   time.Duration          // for the second Ctrl+C
	input    *input                 // nil: nothing is forwarded
	output   func(api.Output) error // prints output; nil: stdout and stderr as the command wrote them
	follows  bool                   // it only reads the run's output: every signal just ends it
	launcher *launcher              // to start the run with; nil: it is there
	signals  chan os.Signal         // of a caller that owned them before; nil: the attachment takes them
	from     int64                  // next output byte wanted, or that comes after what the screen shows
	client   *api.Client

	manner   manner           // of attaching
	screen   *screen          // the person's terminal, if it shows the run's
	commands chan term.Action // that the person typed; nil if there is no terminal to type them on
}

// patience is how long a connection may take before the person is told that moat is waiting for it.
const patience = time.Second

// attach shows the run's output until it ends, or until the person leaves. The error carries the exit code.
func (s *attachment) attach(ctx context.Context) error {
	s.client = api.NewClient(s.home.Dir(s.id))
	defer s.client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.signals == nil {
		signals, release := ownSignals()
		defer release()
		s.signals = signals
	}
	if !s.follows {
		defer brokenPipeIsAnError()()
	}
	go s.handle(ctx, cancel)
	err := s.followed(ctx)
	if errors.Is(err, errStuck) {
		return s.screen.abandon()
	}
	if s.screen != nil {
		err = cmp.Or(err, s.screen.end(context.Cause(ctx) == nil))
		s.app.raw.Store(nil)
	}
	var left *leftError
	switch {
	case !errors.As(context.Cause(ctx), &left):
		return err
	case s.follows:
		return left
	}
	s.app.say("detached, the run goes on. Reattach: moat attach %s   Logs: moat logs -f %s   End it: moat stop %s", s.name, s.name, s.name)
	return nil
}

// errStuck says that the person has left, and their terminal takes no output.
var errStuck = errors.New("the terminal takes no output")

// letGo bounds how long a person who leaves waits for a terminal that does not take what is being written.
const letGo = time.Second

// followed is follow, or errStuck if a write to the terminal holds it up when ctx has ended. Nothing can end such a
// write; its goroutine ends with the process.
func (s *attachment) followed(ctx context.Context) error {
	if s.screen == nil {
		return s.follow(ctx)
	}
	s.screen.left = ctx.Done()
	done := make(chan error, 1)
	go func() {
		defer s.screen.tty.RestoreOnPanic()
		done <- s.follow(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(letGo)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errStuck
	}
}

// handle is the owner of the signals. It cancels with a leftError to leave.
func (s *attachment) handle(ctx context.Context, cancel context.CancelCauseFunc) {
	if s.screen != nil {
		defer s.screen.tty.RestoreOnPanic()
	}
	p := press{window: s.window}
	var window <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-window:
			cancel(&leftError{os.Interrupt})
			return
		case action := <-s.commands:
			if action == term.Stop {
				s.app.say("stopping the run, %v at most", defaultGrace)
				go s.stop(ctx, defaultGrace)
				continue
			}
			s.input.flush(ctx)
			cancel(&leftError{os.Interrupt})
			return
		case sig := <-s.signals:
			if sig != os.Interrupt || s.follows || s.input != nil && s.screen != nil {
				cancel(&leftError{sig})
				return
			}
			switch p.at(time.Now()) {
			case pressWait:
				s.app.say("detaching. Press Ctrl+C again within %v to stop the run instead", s.window)
				window = time.After(s.window)
			case pressStop:
				window = nil
				s.app.say("stopping the run, %v at most. Ctrl+C once more ends it at once", defaultGrace)
				go s.stop(ctx, defaultGrace)
			case pressKill:
				go s.stop(ctx, 0)
			case pressLate:
				cancel(&leftError{sig})
				return
			}
		}
	}
}

// stop asks for the end of the run; that it came is seen in its output.
func (s *attachment) stop(ctx context.Context, grace time.Duration) {
	err := s.app.stopRun(ctx, s.home, run.Record{ID: s.id, State: run.Running}, grace)
	if err != nil && ctx.Err() == nil {
		s.app.say("the run could not be stopped: %v", err)
	}
}

// follow receives until the run ends, over as many connections as it takes.
func (s *attachment) follow(ctx context.Context) error {
	var r retries
	for {
		began := time.Now()
		err := s.connection(ctx)
		if !errors.Is(err, api.ErrUnreachable) {
			return err
		}
		rec, err := s.app.settled(ctx, s.home, s.id)
		if err != nil {
			return err
		}
		if rec.State.Final() {
			return s.fromDisk(rec)
		}
		if r.wait == 0 || time.Since(began) > patience {
			r = retries{}
			s.app.say("the run's supervisor is being replaced; reconnecting")
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

// connection is one connection from its beginning to its end. api.ErrUnreachable says that it broke.
func (s *attachment) connection(ctx context.Context) error {
	slow := time.AfterFunc(patience, func() { s.app.say("waiting for the run's supervisor") })
	defer slow.Stop()
	req := api.Attach{From: s.from}
	if s.input != nil {
		req.Source = s.input.source
	}
	if s.screen != nil {
		req.Terminal = s.screen.describe()
	}
	stream, err := s.client.Attach(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	if s.input != nil {
		defer s.input.lost()
	}
	open, closed := context.WithCancel(ctx)
	defer closed()
	for {
		kind, payload, err := stream.Next()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %w", api.ErrUnreachable, err)
		}
		slow.Stop()
		if err := s.receive(open, kind, payload, stream); err != nil {
			return err
		}
	}
}

// receive handles one frame; open ends with the connection. An error ends the session, unless it is api.ErrUnreachable.
func (s *attachment) receive(open context.Context, kind byte, payload []byte, stream *api.Stream) error {
	switch kind {
	case api.KindStarted:
		started, err := api.Decode[api.Started](payload)
		if err == nil && s.input != nil {
			s.input.taken(started.InputDone)
			go s.input.sendTo(stream, open.Done())
		}
		if s.screen != nil {
			go s.screen.sendSizes(open, stream)
		}
		return err
	case api.KindOutput:
		out, err := api.ParseOutput(payload)
		if err != nil {
			return err
		}
		if s.screen != nil {
			s.from = out.Offset + int64(len(out.Data))
			return s.screen.show(out.Data)
		}
		return s.show(out)
	case api.KindRepaint, api.KindPaint, api.KindLead:
		return s.draw(kind, payload)
	case api.KindKeyboard:
		return s.plug(stream)
	case api.KindInputDone:
		taken, err := api.ParseInputDone(payload)
		if err == nil && s.input != nil {
			s.input.taken(taken)
		}
		return err
	case api.KindNotice:
		notice, err := api.Decode[api.Notice](payload)
		s.app.say("%s", plain(notice.Text))
		return err
	case api.KindExit:
		end, err := api.Decode[api.Exit](payload)
		if err != nil {
			return err
		}
		return s.app.ended(s.name, run.State(end.State), end.Reason, end.Code)
	case api.KindFailed:
		failed, err := api.Decode[api.Failed](payload)
		if err != nil {
			return err
		}
		return &exitError{code: failed.Code, err: errors.New(failed.Error)}
	case api.KindGone:
		gone, err := api.Decode[api.Gone](payload)
		return errors.Join(&exitError{code: codeFailure, err: fmt.Errorf("the supervisor let go: %s", gone.Reason)}, err)
	default:
		return fmt.Errorf("the supervisor sent an unexpected frame %q", kind)
	}
}

// plug takes the command's terminal, to which what is typed goes straight.
func (s *attachment) plug(stream *api.Stream) error {
	files, err := stream.Descriptors(1)
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrUnreachable, err)
	}
	if s.input == nil {
		return files[0].Close()
	}
	s.input.plug(files[0], func(at time.Time) {
		_ = stream.Send(api.KindTyped, api.Encode(api.Typed{At: at})) // the one who receives notices
	})
	return nil
}

// draw handles a frame that only those get who show the run's terminal.
func (s *attachment) draw(kind byte, payload []byte) error {
	switch {
	case s.screen == nil:
		return fmt.Errorf("the supervisor sent an unexpected frame %q", kind)
	case kind == api.KindPaint:
		return s.screen.draw(payload)
	case kind == api.KindLead:
		lead, err := api.Decode[api.Lead](payload)
		s.screen.lead(lead.On)
		if s.input != nil {
			s.input.lead(lead.On)
		}
		return err
	default:
		head, err := api.Decode[api.Repaint](payload)
		if err != nil {
			return err
		}
		s.from = head.Offset
		if err := s.screen.begin(); err != nil {
			return err
		}
		s.screen.paint = head.Bytes
		return s.screen.draw(nil)
	}
}

// show prints output where it belongs. A stdout that nobody reads any more ends the session, not the run.
func (s *attachment) show(out api.Output) error {
	if out.Offset < s.from {
		return fmt.Errorf("the supervisor sent output from %d again, %d was next", out.Offset, s.from)
	}
	if err := s.print(out); err != nil {
		return &exitError{code: codeFailure, err: fmt.Errorf("print output: %w", err), hint: fmt.Sprintf("the run goes on: moat attach %s, or moat stop %s", s.name, s.name)}
	}
	s.from = out.Offset + int64(len(out.Data))
	return nil
}

func (s *attachment) print(out api.Output) error {
	if s.output != nil {
		return s.output(out)
	}
	w := s.app.Out
	if out.Stream == line.Stderr {
		w = s.app.Err
	}
	_, err := w.Write(out.Data)
	return err
}

// fromDisk prints what is left of a run that is over, and ends as it did.
func (s *attachment) fromDisk(rec run.Record) error {
	root, err := os.OpenRoot(s.home.Dir(s.id))
	if err != nil {
		return fmt.Errorf("read the run's output: %w", err)
	}
	defer root.Close()
	reader, err := journal.OpenReader(root)
	if errors.Is(err, os.ErrNotExist) {
		return s.app.endedAs(rec)
	}
	if err != nil {
		return fmt.Errorf("read the run's output: %w", err)
	}
	defer reader.Close()
	if s.screen != nil {
		last, err := session.Last(reader.Tape(0))
		if err == nil {
			err = errors.Join(s.screen.begin(), s.screen.show(last.Data))
		}
		return errors.Join(err, s.app.endedAs(rec))
	}
	for chunk, err := range reader.Chunks(s.from, reader.End()) {
		if err != nil {
			return fmt.Errorf("read the run's output: %w", err)
		}
		if err := s.show(api.Output{Stream: line.Stream(chunk.Stream), Offset: chunk.Offset, Time: chunk.Time, Data: chunk.Data}); err != nil {
			return err
		}
	}
	return s.app.endedAs(rec)
}

// endedAs is ended for a record.
func (app *App) endedAs(rec run.Record) error {
	code := codeNotStarted
	if rec.ExitCode != nil {
		code = *rec.ExitCode
	}
	return app.ended(rec.Name, rec.State, rec.Reason, code)
}

// ended says how a run ended where its output does not, and returns its exit code as an error.
func (app *App) ended(name string, state run.State, reason string, code int) error {
	switch state {
	case run.Exited:
		if reason != "" {
			app.say("%s", plain(reason))
		}
	case run.Stopped:
		app.say("run %s was stopped", name)
	default:
		return &exitError{code: code, err: fmt.Errorf("run %s %s: %s", name, describe(state), reason)}
	}
	if code == 0 {
		return nil
	}
	return &exitError{code: code}
}

// describe makes a final state part of a sentence.
func describe(s run.State) string {
	if s == run.Lost {
		return "was lost"
	}
	return string(s)
}
