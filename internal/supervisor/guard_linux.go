package supervisor

import (
	"fmt"

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
