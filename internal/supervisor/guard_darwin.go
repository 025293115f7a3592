package supervisor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// becomeSubreaper does nothing: launchd reaps orphans.
func becomeSubreaper() error { return nil }

// newMemory makes none: this system has no memory without a name that a process inherits.
func newMemory() (*os.File, error) { return nil, nil }

// redirectErrors makes what this process says when it dies go to log.
func redirectErrors(log *os.File) error {
	if err := unix.Dup2(int(log.Fd()), int(os.Stderr.Fd())); err != nil {
		return fmt.Errorf("redirect standard error: %w", err)
	}
	return nil
}
