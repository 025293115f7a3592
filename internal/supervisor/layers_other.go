//go:build !linux

package supervisor

import (
	"context"

	"moat/internal/plan"
)

// imageLayers returns the folders that a plan's image consists of, for a runtime that stacks them itself: none here does.
func imageLayers(context.Context, string, plan.Plan) (layers []string, release func(), err error) {
	return nil, func() {}, nil
}
