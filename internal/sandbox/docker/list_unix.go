//go:build unix

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"moat/internal/sandbox"
)

// A Container is one that moat has made, as the engine knows it.
type Container struct {
	Ref   sandbox.Ref
	ID    string
	Name  string
	State string // the engine's word
	Life  sandbox.State
}

// List returns all containers that moat has made in the engine of now, with one question. A machine without an engine has none.
func (r *Runtime) List(ctx context.Context) ([]Container, error) {
	eng, err := r.find(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	found, err := eng.list(ctx, labelRun)
	if errors.Is(err, fs.ErrNotExist) && eng.at.From == fromDefault {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	out := make([]Container, 0, len(found))
	for _, c := range found {
		state, _ := life(c.State) // an error is what Unknown says
		out = append(out, Container{
			Ref: sandbox.Ref{ID: c.Labels[labelRun], Dir: c.Labels[labelDir]}, ID: c.ID, Name: strings.TrimPrefix(firstOf(c.Names), "/"),
			State: c.State, Life: state,
		})
	}
	return out, nil
}

// RemoveContainer ends and removes one of List's, whose sandbox nobody has any more. That it is gone already is fine.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	eng, err := r.find(ctx)
	if err != nil {
		return err
	}
	defer eng.close()
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	err = eng.remove(ctx, id)
	switch {
	case errors.Is(err, errNotFound):
		return nil
	case errors.Is(err, errConflict):
		return awaitRemoved(ctx, eng, id)
	}
	return err
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
