package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/run"
)

type cleanOptions struct {
	force, dryRun bool
	olderThan     string
}

func (app *App) cleanCommand() *cobra.Command {
	var o cleanOptions
	c := &cobra.Command{
		Use:   "clean [-f] [--dry-run] [--older-than DURATION]",
		Short: "Remove runs that have ended, and leftovers",
		Long: `Remove every run that has ended, and what interrupted commands left behind. Without -f it asks first; where it cannot
ask it only says what it would remove.`,
		Example: `  moat clean --dry-run
  moat clean -f --older-than 168h`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return app.clean(c, o) },
	}
	c.Flags().BoolVarP(&o.force, "force", "f", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say what would be removed")
	c.Flags().StringVar(&o.olderThan, "older-than", "0s", "only runs that ended longer ago than `DURATION`")
	return c
}

func (app *App) clean(c *cobra.Command, o cleanOptions) error {
	age, err := time.ParseDuration(o.olderThan)
	if err != nil || age < 0 {
		return usagef(c, "--older-than %q: write a duration such as 24h", o.olderThan)
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	list, err := app.listSettled(c.Context(), home, true)
	if err != nil {
		return err
	}
	var ended []run.Entry
	for _, e := range list.Runs {
		if e.State.Final() && e.EndedAt != nil && time.Since(*e.EndedAt) >= age {
			ended = append(ended, e)
		}
	}
	for _, p := range list.Problems {
		app.say("left alone: %s", plain(p.Err.Error()))
	}
	if !o.force || o.dryRun {
		for _, e := range ended {
			fmt.Fprintf(app.Out, "%s  %s  %s\n", e.ID, e.Name, stateText(e.Record))
		}
	}
	if o.dryRun {
		if len(ended) == 0 {
			app.say("no run has ended")
		}
		return nil
	}
	if !o.force && len(ended) > 0 {
		if err := app.confirm(fmt.Sprintf("Remove %s?", count(len(ended), "run")), "-f"); err != nil {
			return err
		}
	}
	for _, e := range ended {
		if err := app.remove(c.Context(), home, e.ID); err != nil {
			return fmt.Errorf("remove %s: %w", e.ID, err)
		}
	}
	swept, err := home.Sweep()
	if err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	app.say("removed %s and %s", count(len(ended), "run"), count(len(swept), "leftover"))
	return nil
}

// count is a number of things: "1 run", "2 runs".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
