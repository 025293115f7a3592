package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/image"
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
		Short: "Remove runs that have ended, images that no run uses, and leftovers",
		Long: `Remove every run that has ended, every image that no run uses, and what interrupted commands left behind, containers that
belong to no run too. Without -f it asks first; where it cannot ask it only says what it would remove.`,
		Example: `  moat clean --dry-run
  moat clean -f --older-than 168h`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return app.clean(c, o) },
	}
	c.Flags().BoolVarP(&o.force, "force", "f", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say what would be removed")
	c.Flags().StringVar(&o.olderThan, "older-than", "0s", "only runs that ended, and images that were used, longer ago than `DURATION`")
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
	orphans, err := app.orphans(c.Context(), home)
	if err != nil {
		app.say("containers without a run were not looked for: %s", plain(err.Error()))
	}
	for _, p := range list.Problems {
		app.say("left alone: %s", plain(p.Err.Error()))
	}
	cleaning := image.Cleaning{Before: time.Now().Add(-age), InUse: func() ([]string, error) { return imagesInUse(home) }, DryRun: true}
	if !o.force || o.dryRun {
		images, err := app.cleanImages(c.Context(), home, cleaning)
		if err != nil {
			return err
		}
		if err := printCleaning(app.Out, ended, images.Images, orphans); err != nil {
			return err // nobody is asked about what they have not seen
		}
		if err := app.mayClean(o, len(ended), len(images.Images), len(orphans)); err != nil || o.dryRun {
			return err
		}
	}
	for _, o := range orphans {
		if err := app.RemoveContainer(c.Context(), o); err != nil {
			return fmt.Errorf("remove %s: %w", o.Name, err)
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
	cleaning.DryRun = false
	images, err := app.cleanImages(c.Context(), home, cleaning)
	if err != nil {
		return err
	}
	what := count(len(ended), "run")
	if n := len(images.Images); n > 0 || images.Layers > 0 {
		what += fmt.Sprintf(", %s (%s)", count(n, "image"), sizeText(images.Bytes))
	}
	app.say("removed %s and %s", what, count(len(swept)+images.Leftovers+len(orphans), "leftover"))
	return nil
}

// printCleaning prints what would be removed.
func printCleaning(w io.Writer, ended []run.Entry, images []image.Stored, orphans []Container) error {
	var b strings.Builder
	for _, e := range ended {
		fmt.Fprintf(&b, "%s  %s  %s\n", e.ID, e.Name, stateText(e.Record))
	}
	for _, i := range images {
		fmt.Fprintf(&b, "image  %s  %s\n", visible(i.Ref), sizeText(i.Bytes))
	}
	for _, c := range orphans {
		fmt.Fprintf(&b, "%s  %s container without a run\n", plain(c.Name), c.Runtime)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mayClean asks whether so much may be removed, if there is anything and nobody has said so.
func (app *App) mayClean(o cleanOptions, runs, images, containers int) error {
	var parts []string
	for _, p := range []struct {
		n     int
		thing string
	}{{runs, "run"}, {images, "image"}, {containers, "container"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.thing))
		}
	}
	switch {
	case o.dryRun && runs == 0:
		app.say("no run has ended")
		return nil
	case o.dryRun || len(parts) == 0:
		return nil
	}
	return app.confirm(fmt.Sprintf("Remove %s?", strings.Join(parts, " and ")), "-f")
}

// cleanImages removes, or finds, images that no run uses.
func (app *App) cleanImages(ctx context.Context, home *run.Home, c image.Cleaning) (image.Cleaned, error) {
	if app.CleanImages == nil {
		return image.Cleaned{}, nil
	}
	images, err := app.CleanImages(ctx, home.Path(), c)
	var unreadable *unreadableError
	if errors.As(err, &unreadable) {
		app.say("images are left alone: %v", err)
		return image.Cleaned{}, nil
	}
	if images.Busy {
		app.say("images are left alone: some are being pulled or started")
	}
	return images, err
}

// unreadableError says that it is not known what a run uses.
type unreadableError struct{ problem run.Problem }

func (e *unreadableError) Error() string {
	return fmt.Sprintf("it is not known what %s uses: %v", e.problem.ID, e.problem.Err)
}

// imagesInUse are the digests of the images of runs that may live.
func imagesInUse(home *run.Home) ([]string, error) {
	list, err := home.List(false)
	if err != nil {
		return nil, err
	}
	for _, p := range list.Problems {
		return nil, &unreadableError{p}
	}
	var digests []string
	for _, e := range list.Runs {
		if e.Plan.ImageDigest != "" {
			digests = append(digests, e.Plan.ImageDigest)
		}
	}
	return digests, nil
}

// count is a number of things: "1 run", "2 runs".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
