package main

import (
	"context"
	"fmt"
	"os"
)

const verbSupervise = "supervise"

func runGuard(context.Context) int { return unsupported() }

func runSupervisor(context.Context, []string) int { return unsupported() }

func unsupported() int {
	fmt.Fprintln(os.Stderr, "moat: runs cannot be kept on Windows yet")
	return 1
}
