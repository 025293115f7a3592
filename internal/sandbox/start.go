package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Steps are what a runtime's Start consists of.
type Steps struct {
	Check func(Spec) error                  // what this runtime cannot do; nil: nothing
	Start func(context.Context, Spec) error // makes the sandbox; what it leaves on error is removed
}

// cleanupTime bounds what is undone after a failed start.
const cleanupTime = 30 * time.Second

// Start does the steps of r as Runtime's Start promises: not over a sandbox that runs, without leftovers of an earlier start but the
// home directory, and all or nothing.
func Start(ctx context.Context, r Runtime, spec Spec, steps Steps) error {
	err := errors.Join(ctx.Err(), spec.Check())
	if steps.Check != nil {
		err = errors.Join(err, steps.Check(spec))
	}
	if err != nil {
		return fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	switch state, err := r.State(ctx, spec.Ref); {
	case err != nil:
		return err
	case state == Running:
		return fmt.Errorf("start sandbox %s: it is running", spec.ID)
	}
	if err := r.Remove(ctx, spec.Ref); err != nil {
		return fmt.Errorf("clear leftovers of sandbox %s: %w", spec.ID, err)
	}
	if err := steps.Start(ctx, spec); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		return errors.Join(fmt.Errorf("start sandbox %s: %w", spec.ID, err), r.Remove(clean, spec.Ref))
	}
	return nil
}
