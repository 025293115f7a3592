package supervisor

import (
	"context"

	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/sandbox/apple"
)

// kinds are the runtimes of this system, best first.
func kinds() []kind { return []kind{appleKind(), dockerKind()} }

// appleKind is Apple's container command.
func appleKind() kind {
	machines := func(env Env) *apple.Runtime { return &apple.Runtime{Env: apple.Lookup(env)} }
	return kind{
		name: apple.Name,
		make: func(env Env) sandbox.Runtime { return machines(env) },
		fetch: func(ctx context.Context, f plan.Fetch, env Env) (*plan.Image, error) {
			return fetched(machines(env).Fetch(ctx, wanted(f)))
		},
		list: func(ctx context.Context, env Env) ([]Container, error) {
			found, err := machines(env).List(ctx)
			out := make([]Container, len(found))
			for i, c := range found {
				out[i] = Container{Runtime: apple.Name, ID: c.Name, Name: c.Name, State: c.State, Ref: c.Ref}
			}
			return out, err
		},
		remove: func(ctx context.Context, name string, env Env) error { return machines(env).RemoveContainer(ctx, name) },
	}
}
