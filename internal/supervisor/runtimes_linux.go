package supervisor

import (
	"fmt"

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
