package main

import (
	"context"
	"fmt"
	"os"
)

const verbGuard = "guard"

func runKeeper(context.Context, []string) int {
	fmt.Fprintln(os.Stderr, "moat: runs cannot be kept on Windows yet")
	return 1
}
