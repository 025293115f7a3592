//go:build !linux

package main

import (
	"context"
	"fmt"
	"os"
)

func runGuest(context.Context, []string) int {
	fmt.Fprintln(os.Stderr, "moat: a guest runs on Linux only")
	return 2
}
