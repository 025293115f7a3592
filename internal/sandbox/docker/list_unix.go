//go:build unix

package docker

import (
	"context"
	"fmt"
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

// List returns all containers that moat has made in the engine of now, with one question.
func (r *Runtime) List(ctx context.Context) ([]Container, error) {
	eng, err := r.find(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	found, err := eng.list(ctx, labelRun)
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

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
