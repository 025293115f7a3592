//go:build !linux

package supervisor

import (
	"fmt"

	"moat/internal/sandbox"
)

// Runtimes are the names of the runtimes that this system may have, best first: none yet.
func Runtimes() []string { return nil }

// NewRuntime returns the runtime of that name.
func NewRuntime(name string) (sandbox.Runtime, error) {
	return nil, fmt.Errorf("there is no runtime %q on this system", name)
}
