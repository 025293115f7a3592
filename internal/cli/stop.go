package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/run"
)

func (app *App) stopCommand() *cobra.Command {
	var grace string
	c := &cobra.Command{
		Use:   "stop [--time S] [run…]",
		Short: "Stop runs: SIGTERM, then SIGKILL",
		Long: `Stop runs and wait until they have ended: SIGTERM to the command and, if it still runs after the grace time, SIGKILL to
everything in the sandbox. What the runs printed stays. If no run is
named, there must be just one that is going on. The ids of the runs that were stopped are printed.`,
		Example: `  moat stop
  moat stop --time 30 tests build`,
		ValidArgsFunction: app.completeRuns(true),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := seconds(grace)
			if err != nil {
				return usagef(c, "--time %v", err)
			}
			return app.stop(c, d, args)
		},
	}
	c.Flags().StringVar(&grace, "time", fmt.Sprint(defaultGrace.Seconds()), "grace time in `SECONDS`, or a duration such as 500ms")
	return c
}

// seconds reads a number of seconds, or a duration with its unit.
func seconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q: write seconds, such as 10, or a duration such as 500ms", text)
	}
	return d, nil
}

func (app *App) stop(c *cobra.Command, grace time.Duration, refs []string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		only, err := onlyLive(c, home)
		if err != nil {
			return err
		}
		refs = []string{only}
	}
	return app.each(refs, func(ref string) error {
		rec, err := app.settled(c.Context(), home, ref)
		if err != nil {
			return err
		}
		if err := app.stopRun(c.Context(), home, rec, grace); err != nil {
			return err
		}
		_, err = fmt.Fprintln(app.Out, rec.ID)
		return err
	})
}

// onlyLive is the run to stop when none is named: there must be just one.
func onlyLive(c *cobra.Command, home *run.Home) (string, error) {
	list, err := home.List(false)
	if err != nil {
		return "", err
	}
	switch len(list.Runs) {
	case 1:
		return list.Runs[0].ID, nil
	case 0:
		return "", errNoneLive()
	}
	var all []run.Candidate
	for _, e := range list.Runs {
		all = append(all, run.Candidate{ID: e.ID, Name: e.Name, State: e.State})
	}
	return "", &exitError{code: codeUsage, err: fmt.Errorf("which of the %d runs?", len(all)), hint: candidates(all)}
}

// each does something with each of the runs and reports every failure but the last, which it returns. A signal ends it.
func (app *App) each(refs []string, do func(ref string) error) error {
	var last error
	for _, ref := range refs {
		if err := do(ref); err != nil {
			app.report(last)
			last = err
		}
		if _, left := errors.AsType[*leftError](last); left {
			break
		}
	}
	return last
}

// stopRun ends a run and returns when it has ended.
func (app *App) stopRun(ctx context.Context, home *run.Home, rec run.Record, grace time.Duration) error {
	for r := (retries{}); !rec.State.Final(); {
		client := api.NewClient(home.Dir(rec.ID))
		err := client.Stop(ctx, api.Stop{GraceMS: grace.Milliseconds()})
		client.Close()
		if err != nil && !errors.Is(err, api.ErrUnreachable) {
			return fmt.Errorf("stop %s: %w", rec.ID, err)
		}
		if rec, err = app.settled(ctx, home, rec.ID); err != nil || rec.State.Final() {
			return err
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}
