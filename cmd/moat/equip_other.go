//go:build !linux

package main

import (
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

// equipMachine gives the command line what the built-in runtime needs of this machine: there is none.
func equipMachine(app *cli.App) {
	app.Machine = func(string) []cli.Fact { return nil }
	app.Tools = func(cli.Wanted) ([]sandbox.Tool, map[string]string, error) { return nil, map[string]string{}, nil }
	app.ToolReports = func(cli.Wanted) []cli.ToolReport { return []cli.ToolReport{} }
}
