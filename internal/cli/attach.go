package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/run"
)

type attachOptions struct {
	interactive optionalBool
	readOnly    bool

	noScrollback bool
}

func (app *App) attachCommand() *cobra.Command {
	var o attachOptions
	c := &cobra.Command{
		Use:   "attach [flags] [run]",
		Short: "Attach to a run that is going on",
		Long: `Attach to a run: the newest one that is going on, if none is named. Everything that it has printed is shown from the
beginning. Input is forwarded if the run was started with -i; -i and -i=false override that.

Ctrl+C detaches once the time for a second one has passed: a second one within it (1s; MOAT_STOP_WINDOW, or
detach.stop_window in config.yaml) stops the run instead. SIGTERM and SIGHUP detach at once.`,
		Example: `  moat attach
  moat attach tests
  moat attach --read-only run-5f2c`,
		Args: atMostOneRun,
		RunE: func(c *cobra.Command, args []string) error { return app.attach(c, &o, args) },
	}
	c.Flags().VarPF(&o.interactive, "interactive", "i", "forward standard input").NoOptDefVal = "true"
	c.Flags().BoolVar(&o.readOnly, "read-only", false, "watch only")
	c.Flags().BoolVar(&o.noScrollback, "no-scrollback", false, "do not show what has scrolled off the run's screen")
	c.ValidArgsFunction = app.completeOneRun(true, cobra.ShellCompDirectiveNoFileComp)
	return c
}

func (app *App) attach(c *cobra.Command, o *attachOptions, args []string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.oneRun(c.Context(), home, args, true)
	if err != nil {
		return err
	}
	if run.Ask(run.VerbAttach, rec.State).Answer == run.Refused {
		return &run.StateError{Verb: run.VerbAttach, Record: rec}
	}
	global, err := config.LoadGlobal(home.Path())
	if err != nil {
		return err
	}
	window, err := app.stopWindow(global)
	if err != nil {
		return err
	}
	s := &attachment{app: app, home: home, id: rec.ID, name: rec.Name, window: window}
	forward := rec.Plan.Interactive
	if o.interactive.value != nil {
		forward = *o.interactive.value
	}
	keys, err := app.detachKeys(global)
	if err != nil {
		return err
	}
	s.manner = manner{forward: forward && !o.readOnly, noScrollback: o.noScrollback, allow: rights(global), keys: keys}
	return s.attachTo(c.Context(), rec.Plan)
}

// waiting is the run that has waited longest for somebody.
func (app *App) waiting(ctx context.Context, home *run.Home) (run.Record, bool) {
	list, err := home.List(false)
	if err != nil {
		return run.Record{}, false
	}
	var longest *api.Info
	var rec run.Record
	for i, info := range askSupervisors(ctx, home, list.Runs) {
		if info != nil && info.AttentionSince != nil && (longest == nil || info.AttentionSince.Before(*longest.AttentionSince)) {
			longest, rec = info, list.Runs[i].Record
		}
	}
	if longest == nil {
		return rec, false
	}
	app.say("%s waits: %s", rec.Name, cut(*longest.Attention, 60))
	return rec, true
}

// oneRun is the run that an optional argument names, as it is true now. Without one it is the one that has waited
// longest for somebody, or else the newest: of the live ones, or of all.
func (app *App) oneRun(ctx context.Context, home *run.Home, args []string, live bool) (run.Record, error) {
	if len(args) > 0 {
		return app.settled(ctx, home, args[0])
	}
	if live {
		if rec, ok := app.waiting(ctx, home); ok {
			return rec, nil
		}
	}
	entry, err := home.Newest(live)
	var missing *run.NotFoundError
	if live && errors.As(err, &missing) {
		return run.Record{}, errNoneLive()
	}
	if err != nil {
		return run.Record{}, err
	}
	return app.settled(ctx, home, entry.ID)
}

// atMostOneRun checks the arguments of a verb that may name one run.
func atMostOneRun(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef(c, "%q: only one run can be named", args[1])
	}
	return nil
}

// someRuns checks the arguments of a verb that names at least one run.
func someRuns(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef(c, "which run? Name one or more; \"moat list\" shows them")
	}
	return nil
}

// completeRuns completes names of runs.
func (app *App) completeRuns(live bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		home, err := app.openHome()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := home.List(!live)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, e := range list.Runs {
			if slices.Contains(args, e.Name) {
				continue
			}
			names = append(names, cobra.CompletionWithDesc(e.Name, fmt.Sprintf("%s, %s", e.ID, e.State)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeOneRun is completeRuns for a verb that takes one run; what follows it is the shell's.
func (app *App) completeOneRun(live bool, after cobra.ShellCompDirective) cobra.CompletionFunc {
	runs := app.completeRuns(live)
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, after
		}
		return runs(c, args, word)
	}
}
