package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/journal"
	"moat/internal/run"
)

type logsOptions struct {
	follow, timestamps, raw bool
	lines                   int64
	since, stream           string
}

func (app *App) logsCommand() *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:   "logs [-f] [-n N] [--since T] [--timestamps] [--stream stdout|stderr] [run]",
		Short: "Print what a run has printed",
		Long: `Print what a run has printed, byte for byte: of the newest run, if none is named. It needs nothing but the run's
folder and works in every state. With -f it goes on until the run ends, and a signal
ends it as it ends "tail -f": with 128+n.

Of a run with a terminal the text is printed that a person would have read there; --raw prints the bytes that drew it.`,
		Example: `  moat logs
  moat logs -n 100 tests
  moat logs -f --timestamps --since 10m tests`,
		Args:              atMostOneRun,
		ValidArgsFunction: app.completeOneRun(false, cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(c *cobra.Command, args []string) error { return app.logs(c, &o, args) },
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.Int64VarP(&o.lines, "lines", "n", 0, "only the last `N` lines")
	f.StringVar(&o.since, "since", "", "only what came after `TIME` (RFC 3339), or in the last duration (10m)")
	f.BoolVar(&o.timestamps, "timestamps", false, "begin each line with its time")
	f.BoolVar(&o.raw, "raw", false, "the bytes, also of a run with a terminal")
	f.StringVar(&o.stream, "stream", "", "only `stdout` or stderr")
	_ = c.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions([]cobra.Completion{"stdout", "stderr"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return c
}

// allLines is the number of lines that means all of them.
const allLines = -1

// parse checks the flags.
func (o *logsOptions) parse(c *cobra.Command) (journal.Stream, time.Time, error) {
	streams := map[string]journal.Stream{"": journal.AnyStream, "stdout": journal.Stdout, "stderr": journal.Stderr}
	stream, ok := streams[o.stream]
	if !ok {
		return 0, time.Time{}, usagef(c, "--stream %q: write stdout or stderr", o.stream)
	}
	if o.lines < 0 {
		return 0, time.Time{}, usagef(c, "--lines %d: write 0 or more", o.lines)
	}
	if !c.Flags().Changed("lines") {
		o.lines = allLines
	}
	if o.since == "" {
		return stream, time.Time{}, nil
	}
	if d, err := time.ParseDuration(o.since); err == nil {
		return stream, time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, o.since)
	if err != nil {
		return 0, time.Time{}, usagef(c, "--since %q: write a time such as 2026-11-24T20:00:00Z or a duration such as 10m", o.since)
	}
	return stream, t, nil
}

func (app *App) logs(c *cobra.Command, o *logsOptions, args []string) error {
	stream, since, err := o.parse(c)
	if err != nil {
		return err
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.logsOf(home, args)
	if err != nil {
		return err
	}
	s := &attachment{app: app, home: home, id: rec.ID, name: rec.Name, follows: true}
	reader, done, err := openRecord(home, rec.ID)
	switch {
	case err == nil:
		defer done()
	case !errors.Is(err, fs.ErrNotExist): // it has not printed anything yet
		return fmt.Errorf("logs of %s: %w", rec.ID, err)
	}
	if reader != nil && rec.Plan.TTY && !o.raw {
		return app.terminalLog(c.Context(), s, reader, rec, o, since)
	}
	out := &logWriter{out: app.Out, stream: stream}
	if o.timestamps {
		out.stamper = journal.NewStamper(app.Out)
	}
	if reader != nil {
		if s.from, err = out.recorded(reader, o.lines, since); err != nil {
			return fmt.Errorf("logs of %s: %w", rec.ID, err)
		}
	}
	if o.follow && rec.State.Live() {
		s.output = out.live
		err = s.attach(c.Context())
		var exit *exitError
		if errors.As(err, &exit) {
			err = nil // how the run ended is no failure of reading what it printed
		}
	}
	return errors.Join(err, out.flush())
}

// logsOf finds the run whose output is wanted. Nothing is asked of anybody: the record suffices.
func (app *App) logsOf(home *run.Home, args []string) (run.Record, error) {
	if len(args) > 0 {
		entry, err := home.Get(args[0])
		return entry.Record, err
	}
	entry, err := home.Newest(false)
	return entry.Record, err
}

// logWriter prints the wanted part of a run's output.
type logWriter struct {
	out     io.Writer
	stream  journal.Stream
	stamper *journal.Stamper // nil: no times
}

// recorded prints what is recorded and returns where it ended.
func (w *logWriter) recorded(r *journal.Reader, lines int64, since time.Time) (int64, error) {
	from, end := int64(0), r.End()
	if !since.IsZero() {
		off, err := r.SinceOffset(since)
		if err != nil {
			return end, err
		}
		from = off
	}
	if lines >= 0 {
		off, err := r.TailOffset(lines, w.stream)
		if err != nil {
			return end, err
		}
		from = max(from, off)
	}
	if w.stamper == nil {
		_, err := r.CopyTo(w.out, journal.CopyOptions{From: from, To: end, Stream: w.stream})
		return end, err
	}
	for chunk, err := range r.Chunks(from, end) {
		if err == nil {
			err = w.chunk(chunk)
		}
		if err != nil {
			return end, err
		}
	}
	return end, nil
}

// live prints output as it comes.
func (w *logWriter) live(out api.Output) error {
	return w.chunk(journal.Chunk{Time: out.Time, Stream: journal.Stream(out.Stream), Offset: out.Offset, Data: out.Data})
}

func (w *logWriter) chunk(c journal.Chunk) error {
	if w.stream != journal.AnyStream && c.Stream != w.stream {
		return nil
	}
	if w.stamper != nil {
		return w.stamper.Write(c)
	}
	_, err := w.out.Write(c.Data)
	return err
}

func (w *logWriter) flush() error {
	if w.stamper == nil {
		return nil
	}
	return w.stamper.Flush()
}
