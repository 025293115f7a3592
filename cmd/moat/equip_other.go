//go:build !linux

package main

import (
	"context"
	"os"

	"moat/internal/cli"
	"moat/internal/sandbox"
)

// self is how this program is started again.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// equip gives the command line what it needs of runtimes; this system has none yet.
func equip(_ context.Context, app *cli.App) {
	app.Runtimes = func() map[string]sandbox.Runtime { return nil }
	app.Containers = func(context.Context) ([]cli.Container, error) { return nil, nil }
	app.RemoveContainer = func(context.Context, cli.Container) error { return nil }
	app.Machine = func(string) []cli.Fact { return nil }
	app.Tools = func(cli.Wanted) ([]sandbox.Tool, map[string]string, error) { return nil, map[string]string{}, nil }
	app.ToolReports = func(cli.Wanted) []cli.ToolReport { return []cli.ToolReport{} }
}
