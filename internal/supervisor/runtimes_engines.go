//go:build linux || darwin

package supervisor

import (
	"context"

	"moat/internal/plan"
	"moat/internal/sandbox"
	hosted "moat/internal/sandbox/box"
	"moat/internal/sandbox/docker"
)

// dockerKind is Docker, and what is like it.
func dockerKind() kind {
	engine := func(env Env) *docker.Runtime { return &docker.Runtime{Env: docker.Lookup(env)} }
	return kind{
		name: docker.Name,
		make: func(env Env) sandbox.Runtime { return engine(env) },
		fetch: func(ctx context.Context, f plan.Fetch, env Env) (*plan.Image, error) {
			return fetched(engine(env).Fetch(ctx, wanted(f)))
		},
		list: func(ctx context.Context, env Env) ([]Container, error) {
			found, err := engine(env).List(ctx)
			out := make([]Container, len(found))
			for i, c := range found {
				out[i] = Container{Runtime: docker.Name, ID: c.ID, Name: c.Name, State: c.State, Ref: c.Ref}
			}
			return out, err
		},
		remove: func(ctx context.Context, id string, env Env) error { return engine(env).RemoveContainer(ctx, id) },
	}
}

// wanted and fetched translate between a plan and who keeps images himself.
func wanted(f plan.Fetch) hosted.Wanted {
	return hosted.Wanted{Ref: f.Ref, Anew: f.Anew, Report: f.Report}
}

func fetched(i hosted.Image, err error) (*plan.Image, error) {
	if err != nil {
		return nil, err
	}
	return &plan.Image{Digest: i.ID, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkDir: i.WorkDir, User: i.User}, nil
}
