package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/journal"
	"moat/internal/run"
	"moat/internal/session"
	"moat/internal/term"
)

type replayOptions struct {
	speed float64
	idle  float64
	cast  string
	v3    bool
}

func (app *App) replayCommand() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use:   "replay [--speed N] [--idle-limit S] [--cast FILE] [run]",
		Short: "Play what a run's terminal showed, as it showed it",
		Long: `Play what the terminal of a run showed, of the newest run if none is named. What could harm your terminal is left out,
as when you are attached. Ctrl+C ends it. With --cast the recording is written as an asciicast, which asciinema and
others play; "-" is standard output.`,
		Example: `  moat replay tests
  moat replay --speed 4 --idle-limit 1 tests
  moat replay --cast tests.cast tests && asciinema play tests.cast`,
		Args:              atMostOneRun,
		ValidArgsFunction: app.completeOneRun(false, cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(c *cobra.Command, args []string) error { return app.replay(c, o, args) },
	}
	f := c.Flags()
	f.Float64Var(&o.speed, "speed", 1, "play it `N` times as fast as it was")
	f.Float64Var(&o.idle, "idle-limit", 0, "make no pause longer than `S` seconds of the recording (0: as it was)")
	f.StringVar(&o.cast, "cast", "", "write an asciicast to `FILE` instead of playing")
	f.BoolVar(&o.v3, "v3", false, "with --cast: version 3 of the format, not 2")
	return c
}

func (app *App) replay(c *cobra.Command, o replayOptions, args []string) error {
	if o.speed <= 0 || o.idle < 0 {
		return usagef(c, "--speed must be more than 0, and --idle-limit not less")
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.logsOf(home, args)
	if err != nil {
		return err
	}
	if !rec.Plan.TTY {
		return &exitError{code: codeFailure, err: fmt.Errorf("%s (%s) had no terminal", rec.ID, rec.Name), hint: "moat logs " + rec.Name}
	}
	reader, done, err := openRecord(home, rec.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never began
	}
	if err != nil {
		return err
	}
	defer done()
	if o.cast != "" {
		return app.writeCast(o, rec, reader)
	}
	return app.play(c.Context(), o, reader.Tape(0))
}

// openRecord opens what a run has printed. The caller calls done.
func openRecord(home *run.Home, id string) (r *journal.Reader, done func(), err error) {
	root, err := os.OpenRoot(home.Dir(id))
	if err != nil {
		return nil, nil, fmt.Errorf("read the run's output: %w", err)
	}
	r, err = journal.OpenReader(root)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the run's output: %w", err), root.Close())
	}
	return r, func() { _ = errors.Join(r.Close(), root.Close()) }, nil
}

// writeCast writes the recording to a file that is there whole or not at all, or to stdout.
func (app *App) writeCast(o replayOptions, rec run.Record, r *journal.Reader) error {
	cast := session.Cast{
		Version: session.CastV2, Title: rec.Name, Command: strings.Join(rec.Plan.Command, " "), Term: "xterm-256color",
		Started: rec.CreatedAt, Ended: rec.EndedAt, Exit: rec.ExitCode,
	}
	if o.v3 {
		cast.Version = session.CastV3
	}
	if rec.StartedAt != nil {
		cast.Started = *rec.StartedAt
	}
	if o.cast == "-" {
		return session.WriteCast(app.Out, cast, r.Tape(0))
	}
	f, err := os.OpenFile(o.cast, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if err := errors.Join(session.WriteCast(f, cast, r.Tape(0)), f.Close()); err != nil {
		return errors.Join(err, os.Remove(o.cast))
	}
	app.say("recorded in %s", o.cast)
	return nil
}

// play shows the tape at the speed at which it came. A signal ends it; the terminal is given back in any case.
func (app *App) play(ctx context.Context, o replayOptions, tape iter.Seq2[journal.Step, error]) error {
	signals, release := ownSignals()
	defer release()
	out := bufio.NewWriterSize(app.Out, 64<<10)
	filter := term.NewFilter(term.Options{KeepScrollback: true})
	defer func() {
		_, _ = out.Write(filter.Undo()) // where nothing can be written there is nothing to give back
		_ = out.Flush()
	}()
	var buf []byte
	var last time.Time
	for step, err := range tape {
		if err != nil {
			return err
		}
		if pause := pauseFor(o, last, step.Time); pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case sig := <-signals:
				timer.Stop()
				return &exitError{code: (&leftError{sig}).code()}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		last = step.Time
		buf = filter.Append(buf[:0], step.Data)
		if _, err := out.Write(buf); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	return nil
}

// pauseFor is how long to wait between two steps.
func pauseFor(o replayOptions, last, next time.Time) time.Duration {
	if last.IsZero() {
		return 0
	}
	pause := next.Sub(last)
	if limit := time.Duration(o.idle * float64(time.Second)); o.idle > 0 && pause > limit {
		pause = limit
	}
	return time.Duration(float64(pause) / o.speed)
}
