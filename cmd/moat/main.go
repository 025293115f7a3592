// A guest must not hold files of the host's cgroup file system open, which Go does to follow a changing CPU limit.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command moat runs commands in sealed sandboxes.
//
// main only decides which part of moat this process is: a client, or, when moat itself started it, a run's
// supervisor, its guard, the guest in its sandbox, or the minder of a client's terminal. Everything else is in the packages that it calls.
package main

import (
	"context"
	"os"

	"moat/internal/api"
	"moat/internal/cli"
	"moat/internal/secret"
	"moat/internal/term"
)

var version = "dev" // set by the build

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

// run is the process that the first argument names; it returns the exit code.
func run(ctx context.Context, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case verbGuest:
			return runGuest(ctx, args[1:])
		case api.VerbSupervise, verbGuard:
			return runKeeper(ctx, args)
		case cli.VerbMind:
			return runMinder()
		}
	}
	app := &cli.App{
		Version: version, In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Env: os.LookupEnv, Environ: os.Environ, Self: self(),
		Keyring: secret.SystemKeyring(),
	}
	equip(ctx, app)
	return cli.Main(ctx, app, args)
}

const verbGuest = "guest"

// runMinder gives a terminal back when the client that has taken it cannot.
func runMinder() int {
	if err := term.MindMain(os.Stdin); err != nil {
		return 1 // there is nobody to tell
	}
	return 0
}
