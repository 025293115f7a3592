package supervisor

import (
	"context"
	"fmt"

	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
)

// Runtimes are the names of the runtimes that this system may have, best first.
func Runtimes() []string { return []string{"native"} }

// NewRuntime returns the runtime of that name.
func NewRuntime(name string) (sandbox.Runtime, error) {
	switch name {
	case "native":
		return &native.Runtime{}, nil
	default:
		return nil, fmt.Errorf("there is no runtime %q on this system", name)
	}
}

// FetchImage makes an image ready for the runtime that will run it.
func FetchImage(ctx context.Context, f plan.Fetch) (*plan.Image, error) {
	return nil, fmt.Errorf("the runtime %s has no images", f.Runtime)
}
