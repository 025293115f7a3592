package main

import (
	"context"
	"os"
	"sync"

	"moat/internal/cli"
	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/supervisor"
)

// equip gives the command line what it needs of runtimes, which it does not know itself.
func equip(ctx context.Context, app *cli.App) {
	app.DefaultRuntime = sync.OnceValue(func() string { return supervisor.Automatic(ctx, os.LookupEnv) })
	app.Runtimes = func() map[string]sandbox.Runtime {
		all := make(map[string]sandbox.Runtime)
		for _, name := range supervisor.Runtimes() {
			if r, err := supervisor.NewRuntime(name, os.LookupEnv); err == nil {
				all[name] = r
			}
		}
		return all
	}
	app.FetchImage = func(ctx context.Context, f plan.Fetch) (*plan.Image, error) {
		return supervisor.FetchImage(ctx, f, os.LookupEnv)
	}
	app.Containers = func(ctx context.Context) ([]cli.Container, error) {
		found, err := supervisor.Containers(ctx, os.LookupEnv)
		out := make([]cli.Container, len(found))
		for i, c := range found {
			out[i] = cli.Container{Runtime: c.Runtime, Ref: c.Ref, ID: c.ID, Name: c.Name, State: c.State}
		}
		return out, err
	}
	app.RemoveContainer = func(ctx context.Context, c cli.Container) error {
		return supervisor.RemoveContainer(ctx, supervisor.Container{Runtime: c.Runtime, ID: c.ID}, os.LookupEnv)
	}
	equipMachine(app)
}
