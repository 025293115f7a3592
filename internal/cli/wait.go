package cli

import (
	"github.com/spf13/cobra"

	"moat/internal/api"
)

func (app *App) waitCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "wait <run>…",
		Short:             "Wait until runs have ended",
		Long:              "Wait until runs have ended. The exit code is that of the last one that did not end with 0, or else 0.\nInterrupted by signal n it is 128+n.",
		Example:           "  moat wait tests build",
		Args:              someRuns,
		ValidArgsFunction: app.completeRuns(true),
		RunE:              app.wait,
	}
}

func (app *App) wait(c *cobra.Command, refs []string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	return app.each(refs, func(ref string) error {
		rec, err := app.settled(c.Context(), home, ref)
		if err != nil {
			return err
		}
		if rec.State.Final() {
			return app.endedAs(rec)
		}
		skip := func(api.Output) error { return nil }
		s := &attachment{app: app, home: home, id: rec.ID, name: rec.Name, output: skip, from: waitFrom, follows: true}
		return s.attach(c.Context())
	})
}

// waitFrom is behind all output that a run can have: who waits wants none of it.
const waitFrom = 1 << 62
