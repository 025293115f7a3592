package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"moat/internal/api"
	"moat/internal/journal"
	"moat/internal/run"
	"moat/internal/session"
)

// textLog prints what a run's terminal showed as the text that a person would have read.
type textLog struct {
	out    *bufio.Writer
	lines  int64     // only the last ones of what is recorded; allLines: all
	since  time.Time // only what came then or later
	stamps bool

	last [][]byte // the last lines of what is recorded, while their number is limited
	live bool     // all that was recorded has been read
}

// terminalLog prints the log of a run that has a terminal.
func (app *App) terminalLog(ctx context.Context, a *attachment, r *journal.Reader, rec run.Record, o *logsOptions, since time.Time) error {
	t := &textLog{out: bufio.NewWriterSize(app.Out, 64<<10), lines: o.lines, since: since, stamps: o.timestamps}
	for line, err := range session.Lines(t.tape(ctx, a, r, o.follow && rec.State.Live())) {
		if err == nil {
			err = t.add(line)
		}
		if err != nil {
			return errors.Join(err, t.out.Flush())
		}
	}
	return errors.Join(t.caughtUp(), t.out.Flush())
}

// tape is what is recorded, and then, if it is to be followed, what comes.
func (t *textLog) tape(ctx context.Context, a *attachment, r *journal.Reader, follow bool) iter.Seq2[journal.Step, error] {
	return func(yield func(journal.Step, error) bool) {
		for step, err := range r.Tape(0) {
			if !yield(step, err) || err != nil {
				return
			}
		}
		if !follow {
			return
		}
		if err := t.caughtUp(); err != nil {
			yield(journal.Step{}, err)
			return
		}
		a.from = r.End()
		a.output = func(out api.Output) error {
			if !yield(journal.Step{Chunk: journal.Chunk{Time: out.Time, Stream: journal.Terminal, Offset: out.Offset, Data: out.Data}}, nil) {
				return errStopped
			}
			return t.out.Flush()
		}
		err := a.attach(ctx)
		var exit *exitError
		if err != nil && !errors.As(err, &exit) && !errors.Is(err, errStopped) {
			yield(journal.Step{}, err)
		}
	}
}

// errStopped ends a session whose output nobody wants any more.
var errStopped = errors.New("stopped")

// add takes in one line.
func (t *textLog) add(line session.Line) error {
	if line.Time.Before(t.since) {
		return nil
	}
	var text []byte
	if t.stamps {
		text = line.Time.UTC().AppendFormat(nil, journal.StampLayout)
	}
	text = append(append(text, line.Text...), '\n')
	if t.live || t.lines == allLines {
		return t.print(text)
	}
	t.last = append(t.last, text)
	if int64(len(t.last)) > t.lines {
		t.last = t.last[1:]
	}
	return nil
}

// caughtUp prints the last lines of what is recorded: from then on every line counts.
func (t *textLog) caughtUp() error {
	t.live = true
	for _, text := range t.last {
		if err := t.print(text); err != nil {
			return err
		}
	}
	t.last = nil
	return t.out.Flush()
}

func (t *textLog) print(text []byte) error {
	if _, err := t.out.Write(text); err != nil {
		return fmt.Errorf("print the log: %w", err)
	}
	return nil
}
