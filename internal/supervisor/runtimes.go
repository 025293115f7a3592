package supervisor

import (
	"context"
	"errors"
	"fmt"

	"moat/internal/plan"
	"moat/internal/sandbox"
)

// An Env finds environment variables, which may say where an engine is.
type Env func(name string) (value string, ok bool)

// A kind is a runtime that this system may have. Which there are says kinds, in the file of each system.
type kind struct {
	name   string
	make   func(Env) sandbox.Runtime
	likely func() bool                                                 // it is as good as certain that it works; nil: that has to be tried
	fetch  func(context.Context, plan.Fetch, Env) (*plan.Image, error) // makes an image ready
	list   func(context.Context, Env) ([]Container, error)             // nil: nobody keeps containers for it
	remove func(ctx context.Context, container string, env Env) error  // ends and removes one of list's, by its ID
}

// A Container is one that an engine keeps for moat.
type Container struct {
	Runtime, ID, Name, State string
	Ref                      sandbox.Ref
}

// Runtimes are the names of the runtimes that this system may have, best first.
func Runtimes() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func find(name string) (kind, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("there is no runtime %q on this system", name)
}

// NewRuntime returns the runtime of that name.
func NewRuntime(name string, env Env) (sandbox.Runtime, error) {
	k, err := find(name)
	if err != nil {
		return nil, err
	}
	return k.make(env), nil
}

// Automatic is the runtime that is used when nobody chose one: the best one that works here. If none does it is the best one of
// all, whose error says what is wrong; empty if there is none.
func Automatic(ctx context.Context, env Env) string { return automatic(ctx, kinds(), env) }

func automatic(ctx context.Context, kinds []kind, env Env) string {
	for _, k := range kinds {
		if k.likely != nil && k.likely() || k.make(env).Check(ctx) == nil {
			return k.name
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return kinds[0].name
}

// FetchImage makes an image ready for the runtime that will run it.
func FetchImage(ctx context.Context, f plan.Fetch, env Env) (*plan.Image, error) {
	k, err := find(f.Runtime)
	if err != nil {
		return nil, err
	}
	return k.fetch(ctx, f, env)
}

// Containers returns all that engines keep for moat. An error is about those that could not be asked; the others' are returned
// all the same.
func Containers(ctx context.Context, env Env) ([]Container, error) {
	var all []Container
	var errs []error
	for _, k := range kinds() {
		if k.list == nil {
			continue
		}
		found, err := k.list(ctx, env)
		all, errs = append(all, found...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// RemoveContainer ends and removes one of Containers.
func RemoveContainer(ctx context.Context, c Container, env Env) error {
	k, err := find(c.Runtime)
	if err != nil {
		return err
	}
	return k.remove(ctx, c.ID, env)
}
