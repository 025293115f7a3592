// A guest must not hold files of the host's cgroup file system open, which Go does to follow a changing CPU limit.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command moat runs commands in sealed sandboxes.
//
// main only decides which part of moat this process is. Everything else is in the packages that it calls.
package main

import (
	"context"
	"fmt"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

// run is the process that the first argument names; it returns the exit code.
func run(ctx context.Context, args []string) int {
	if len(args) > 0 && args[0] == "guest" {
		return runGuest(ctx)
	}
	fmt.Fprintln(os.Stderr, "moat: nothing to do")
	return 2
}
