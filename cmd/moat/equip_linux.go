package main

import (
	"context"
	"os"

	"moat/internal/cli"
	"moat/internal/image"
	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
)

// self is how this program is started again. It works for a program that was replaced or removed while it ran.
func self() string { return "/proc/self/exe" }

// equipMachine gives the command line what the built-in runtime needs of this machine.
func equipMachine(app *cli.App) {
	app.CleanImages = func(ctx context.Context, home string, c image.Cleaning) (image.Cleaned, error) {
		return image.Open(home).Clean(ctx, c)
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

func wanted(w cli.Wanted) native.Wanted {
	return native.Wanted{None: w.None, Paths: w.Paths, Workspace: w.Workspace, MoatHome: w.MoatHome}
}
