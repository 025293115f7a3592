//go:build unix

package apple

import (
	"context"
	"errors"
	"fmt"

	"moat/internal/sandbox"
)

// A Container is one that moat has made.
type Container struct {
	Ref   sandbox.Ref
	Name  string
	State string // the command's word
	Life  sandbox.State
}

// List returns all containers that moat has made, with one question. There are none without the command, and none that could be
// seen or removed while its system is not started.
func (r *Runtime) List(ctx context.Context) ([]Container, error) {
	c, err := r.find()
	if errors.Is(err, errNotInstalled) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := c.list(ctx)
	if errors.Is(err, errStopped) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	out := []Container{}
	for _, l := range all {
		ref, ours := refOf(l.Configuration.Labels)
		if !ours {
			continue
		}
		state, _ := life(string(l.Status)) // an error is what Unknown says
		out = append(out, Container{Ref: ref, Name: l.Configuration.ID, State: string(l.Status), Life: state})
	}
	return out, nil
}

// RemoveContainer ends and removes one of List's, whose sandbox nobody has any more. That it is gone already is fine.
func (r *Runtime) RemoveContainer(ctx context.Context, name string) error {
	c, err := r.find()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, removeTime, errSilent)
	defer cancel()
	if err := c.remove(ctx, func(l listed) bool { return l.Configuration.ID == name }, call{}); err != nil {
		return fmt.Errorf("remove container %s: %w", name, err)
	}
	return nil
}
