package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/journal"
	"moat/internal/run"
)

type traceOptions struct {
	network, follow, verbose, json bool
}

func (app *App) traceCommand() *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use:   "trace [--network] [-f] [-v] [--json] [run]",
		Short: "Show what a run did, and what it exchanged with the network",
		Long: `Show the course of a run, of the newest one if none is named: when it was made, started and ended, which hosts it reached or
was refused, who attached, and what else its audit record has. With --network each request, connection and DNS question is shown, allowed or refused, with the
rule that decided. With -v all else that is on record is shown: of the course what its entries in the audit record have, of requests addresses, rules, headers and
bodies. Times are UTC. What the sandbox sent is made harmless for a terminal.

With -f it goes on until the run ends; a signal ends it with 128+n. Requests are then shown when they are complete, and
those that never were come last. With -f, --json prints one object a line, otherwise an array.`,
		Example: `  moat trace
  moat trace --network -f tests
  moat trace --network --json tests | jq '.[] | select(.decision == "deny")'`,
		Args:              atMostOneRun,
		ValidArgsFunction: app.completeOneRun(false, cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(c *cobra.Command, args []string) error { return app.trace(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.network, "network", false, "each request, connection and DNS question")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes until the run ends")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "with all that is on record of each line")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (app *App) trace(ctx context.Context, o traceOptions, args []string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.logsOf(home, args)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(app.Out, 64<<10)
	t := &traffic{app: app, home: home, rec: rec, follow: o.follow, flush: out.Flush}
	switch {
	case !o.network:
		err = timeline(ctx, out, t, o)
	case o.json:
		err = traceJSON(out, t.requests(ctx), o.follow)
	default:
		err = traceTable(out, t.requests(ctx), o)
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if t.damaged > 0 {
		app.say("%s of %s cannot be read: %s", count(int(t.damaged), "line"), journal.NetworkName, home.Dir(rec.ID))
	}
	if o.network && t.count == 0 {
		app.say("%s (%s) has no network records", rec.Name, rec.ID)
	}
	return t.left
}

// traffic is what a run exchanges with the network, as it is recorded.
type traffic struct {
	app    *App
	home   *run.Home
	rec    run.Record
	follow bool
	flush  func() error // called when nothing more is there for now

	count   int64
	damaged int64
	left    error // why it was left before the end; nil if it was not
}

// followEvery is how often a record that is followed is looked at again. Its writer is another process, which tells
// nobody when it writes.
const followEvery = 100 * time.Millisecond

// requests goes through what is recorded and, if it is followed, through what comes.
func (t *traffic) requests(ctx context.Context) iter.Seq2[journal.Request, error] {
	return func(yield func(journal.Request, error) bool) {
		wait := func() bool { return false }
		if t.follow {
			signals, release := ownSignals()
			defer release()
			tick := time.NewTicker(followEvery)
			defer tick.Stop()
			wait = func() bool { return t.wait(ctx, signals, tick.C) }
		}
		reader, err := t.open(wait)
		if err != nil || reader == nil {
			if err != nil {
				yield(journal.Request{}, err)
			}
			return
		}
		defer func() {
			t.damaged = reader.Damaged()
			reader.Close() // only read
		}()
		all := reader.Requests()
		if t.follow {
			all = reader.Follow(wait)
		}
		for req, err := range all {
			if err == nil {
				t.count++
			}
			if !yield(req, err) {
				return
			}
		}
	}
}

// open opens the record. It returns nil if the run has none, and, if it is followed, never gets one.
func (t *traffic) open(wait func() bool) (*journal.NetworkReader, error) {
	root, err := os.OpenRoot(t.home.Dir(t.rec.ID))
	if err != nil {
		return nil, fmt.Errorf("read network record: %w", err)
	}
	defer root.Close()
	for more := true; ; more = wait() {
		reader, err := journal.OpenNetworkReader(root)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return reader, err
		}
		if !more || !t.follow {
			return nil, nil
		}
	}
}

// wait returns when there may be news; false if what is there now is all that there will be.
func (t *traffic) wait(ctx context.Context, signals <-chan os.Signal, tick <-chan time.Time) bool {
	if t.left = t.flush(); t.left != nil {
		return false
	}
	select {
	case sig := <-signals:
		t.left = &leftError{sig}
		return false
	case <-ctx.Done():
		t.left = ctx.Err()
		return false
	case <-tick:
	}
	rec, err := t.app.settled(ctx, t.home, t.rec.ID)
	var gone *run.NotFoundError
	if err != nil && !errors.As(err, &gone) {
		t.left = err
	}
	if err != nil {
		return false
	}
	t.rec = rec
	return rec.State.Live()
}
