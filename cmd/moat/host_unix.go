//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"moat/internal/api"
	"moat/internal/supervisor"
)

const verbGuard = supervisor.VerbGuard

// detached prepares a process that no terminal has a say in: SIGTERM ends it in order, hang-ups and interrupts do not.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	return signal.NotifyContext(ctx, syscall.SIGTERM)
}

// runKeeper is one of those who keep a run: its first supervisor, a later one, or the guard.
func runKeeper(ctx context.Context, args []string) int {
	ctx, stop := detached(ctx)
	defer stop()
	m := supervisor.Main{Self: self(), Version: version, Env: os.LookupEnv}
	verb, args := args[0], args[1:]
	switch {
	case verb == verbGuard:
		return exit(m.Guard(ctx, args))
	case len(args) == 3 && args[2] == api.First:
		return exit(m.Launch(ctx, args))
	default:
		return exit(m.Supervise(ctx, args))
	}
}

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "moat:", err)
		return 1
	}
	return 0
}
