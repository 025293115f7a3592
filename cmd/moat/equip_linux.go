package main

import (
	"context"
	"os"

	"moat/internal/cli"
	"moat/internal/config"
	"moat/internal/image"
	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
	"moat/internal/supervisor"
)

// self is how this program is started again. It works for a program that was replaced or removed while it ran.
func self() string { return "/proc/self/exe" }

// equip gives the command line what it needs of runtimes, which it does not know itself.
func equip(ctx context.Context, app *cli.App) {
	app.DefaultRuntime = automatic(ctx)
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
	app.CleanImages = func(ctx context.Context, home string, c image.Cleaning) (image.Cleaned, error) {
		return image.Open(home).Clean(ctx, c)
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
		return supervisor.RemoveContainer(ctx, c.ID, os.LookupEnv)
	}
	app.Machine = func(home string) []cli.Fact {
		var out []cli.Fact
		for _, f := range native.Examine(home) {
			out = append(out, cli.Fact(f))
		}
		return out
	}
	app.Tools = func(w cli.Wanted) ([]sandbox.Tool, map[string]string, error) {
		host, want := native.Machine(w.Home, os.Environ()), wanted(w)
		tools, reports := native.FindTools(host, want)
		return tools, native.ToolEnv(host, want, tools), native.Refusals(reports)
	}
	app.ToolReports = func(w cli.Wanted) []cli.ToolReport {
		_, reports := native.FindTools(native.Machine(w.Home, os.Environ()), wanted(w))
		out := make([]cli.ToolReport, len(reports))
		for i, r := range reports {
			out[i] = cli.ToolReport{Name: r.Name, Path: r.Path, Why: r.Why, Masked: r.Masked, Refused: r.Refused}
		}
		return out
	}
}

// automatic is the runtime that is used when nobody chose one: the built-in one, unless it does not work here and an engine
// does.
func automatic(ctx context.Context) string {
	if native.Likely() || (&native.Runtime{}).Check(ctx) == nil {
		return config.RuntimeNative
	}
	engine, err := supervisor.NewRuntime(config.RuntimeDocker, os.LookupEnv)
	if err == nil && engine.Check(ctx) == nil {
		return config.RuntimeDocker
	}
	return config.RuntimeNative // whose error says what is wrong
}

func wanted(w cli.Wanted) native.Wanted {
	return native.Wanted{None: w.None, Paths: w.Paths, Workspace: w.Workspace, MoatHome: w.MoatHome}
}
