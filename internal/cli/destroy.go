package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

func (app *App) destroyCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "destroy [-f] <run>…",
		Aliases:           []string{"rm"},
		Short:             "Remove runs that have ended, with all that is kept of them",
		Long:              "Remove runs that have ended, with all that is kept of them: what they printed, and what they were. Their ids are printed.",
		Example:           "  moat destroy tests\n  moat destroy -f $(moat list -q)",
		Args:              someRuns,
		ValidArgsFunction: app.completeRuns(false),
		RunE:              func(c *cobra.Command, args []string) error { return app.destroy(c, force, args) },
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "end runs that are going on first")
	return c
}

func (app *App) destroy(c *cobra.Command, force bool, refs []string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	return app.each(refs, func(ref string) error {
		rec, err := app.settled(c.Context(), home, ref)
		var damaged *run.DamagedError
		if errors.As(err, &damaged) {
			rec, err = app.unreadable(c.Context(), home, damaged, force)
		}
		if err != nil {
			return err
		}
		if !rec.State.Final() {
			if !force {
				return &run.StateError{Verb: run.VerbDestroy, Record: rec}
			}
			if err := app.stopRun(c.Context(), home, rec, 0); err != nil {
				return err
			}
		}
		if err := app.remove(c.Context(), home, rec.ID); err != nil {
			return fmt.Errorf("destroy %s: %w", ref, err)
		}
		_, err = fmt.Fprintln(app.Out, rec.ID)
		return err
	})
}

// unreadable is what destroy goes by when a run's record is damaged. A supervisor that still looks after the run is
// told to end it, if that is wanted.
func (app *App) unreadable(ctx context.Context, home *run.Home, damaged *run.DamagedError, force bool) (run.Record, error) {
	rec := run.Record{ID: damaged.ID, State: run.Lost}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := app.waitReleased(waiting, home, rec.ID)
	if !errors.Is(err, context.DeadlineExceeded) {
		return rec, err
	}
	if !force {
		err := fmt.Errorf("%s: %s is damaged, and a supervisor still looks after the run", rec.ID, damaged.Path)
		return rec, &exitError{code: codeFailure, err: err, hint: "moat destroy -f " + rec.ID}
	}
	client := api.NewClient(home.Dir(rec.ID))
	defer client.Close()
	if err := client.Stop(ctx, api.Stop{}); err != nil && !errors.Is(err, api.ErrUnreachable) {
		return rec, fmt.Errorf("stop %s: %w", rec.ID, err)
	}
	return rec, nil
}

// remove removes a run that has ended, as soon as its supervisor has let go of it.
func (app *App) remove(ctx context.Context, home *run.Home, id string) error {
	if err := app.waitReleased(ctx, home, id); err != nil {
		return err
	}
	// It is entered before, so that no kill can leave a run that is missed. A full disk must not keep anybody from making room.
	first := app.enterDestroyed(ctx, home, id)
	if err := home.Destroy(id); err != nil || first == nil {
		return err
	}
	if err := app.enterDestroyed(ctx, home, id); err != nil {
		app.say("%s was removed, which could not be entered in the audit record of the machine: %v", id, err)
	}
	return nil
}

// enterDestroyed enters in the record of the machine that a person removes a run, if that record knows of any.
func (app *App) enterDestroyed(ctx context.Context, home *run.Home, id string) error {
	machine := ledger.OpenMachine(home.Path())
	keys, err := machine.Keys()
	if err != nil || len(keys.Own) == 0 {
		return err
	}
	signer, _, err := machine.Signer(ctx, app.Keyring)
	if err != nil {
		app.say("that %s was removed is entered, and not signed: %v", id, err)
	}
	return machine.EnterDestroyed(signer, id, os.Getuid())
}
