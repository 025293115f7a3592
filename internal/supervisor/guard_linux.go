package supervisor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes orphans below this process its children, so that a sandbox whose supervisor was killed is
// still reaped (PR_SET_CHILD_SUBREAPER, prctl(2)).
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// redirectErrors makes what this process says when it dies go to log.
func redirectErrors(log *os.File) error {
	if err := unix.Dup3(int(log.Fd()), int(os.Stderr.Fd()), 0); err != nil {
		return fmt.Errorf("redirect standard error: %w", err)
	}
	return nil
}

// newMemory makes memory that has no name and that only those see who inherit it (memfd_create(2)).
func newMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("moat", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make anonymous memory: %w", err)
	}
	return os.NewFile(uintptr(fd), "memory"), nil
}
