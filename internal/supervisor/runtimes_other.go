//go:build !linux

package supervisor

import (
	"context"
	"fmt"

	"moat/internal/plan"
	"moat/internal/sandbox"
)

// Runtimes are the names of the runtimes that this system may have, best first: none yet.
func Runtimes() []string { return nil }

// NewRuntime returns the runtime of that name. env finds environment variables, which may say where an engine is.
func NewRuntime(name string, env func(string) (string, bool)) (sandbox.Runtime, error) {
	return nil, fmt.Errorf("there is no runtime %q on this system", name)
}

// imageLayers returns the folders that a plan's image consists of, for a runtime that stacks them itself: none here does.
func imageLayers(context.Context, string, plan.Plan) (layers []string, release func(), err error) {
	return nil, func() {}, nil
}
