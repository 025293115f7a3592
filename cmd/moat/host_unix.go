//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"moat/internal/supervisor"
)

const verbSupervise = supervisor.VerbSupervise

// detached prepares a process that no terminal has a say in: SIGTERM ends it in order, hang-ups and interrupts do not.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	return signal.NotifyContext(ctx, syscall.SIGTERM)
}

func runGuard(ctx context.Context) int {
	ctx, stop := detached(ctx)
	defer stop()
	return exit(supervisor.GuardMain(ctx, self(), version))
}

func runSupervisor(ctx context.Context, args []string) int {
	ctx, stop := detached(ctx)
	defer stop()
	return exit(supervisor.SuperviseMain(ctx, args, version, os.LookupEnv))
}

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "moat:", err)
		return 1
	}
	return 0
}
