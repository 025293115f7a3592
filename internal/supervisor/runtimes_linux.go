package supervisor

import (
	"context"
	"fmt"

	"moat/internal/image"
	"moat/internal/plan"
	"moat/internal/sandbox"
	hosted "moat/internal/sandbox/box"
	"moat/internal/sandbox/docker"
	"moat/internal/sandbox/native"
)

// Runtimes are the names of the runtimes that this system may have, best first.
func Runtimes() []string { return []string{nativeName, docker.Name} }

const nativeName = "native"

// NewRuntime returns the runtime of that name. env finds environment variables, which may say where an engine is.
func NewRuntime(name string, env func(string) (string, bool)) (sandbox.Runtime, error) {
	switch name {
	case nativeName:
		return &native.Runtime{}, nil
	case docker.Name:
		return &docker.Runtime{Env: env}, nil
	default:
		return nil, fmt.Errorf("there is no runtime %q on this system", name)
	}
}

// FetchImage makes an image ready for the runtime that will run it. env is as for NewRuntime.
func FetchImage(ctx context.Context, f plan.Fetch, env func(string) (string, bool)) (*plan.Image, error) {
	switch f.Runtime {
	case nativeName:
		return fetchLayers(ctx, f)
	case docker.Name:
		r := &docker.Runtime{Env: env}
		i, err := r.Fetch(ctx, hosted.Wanted{Ref: f.Ref, Anew: f.Anew, Report: f.Report})
		if err != nil {
			return nil, err
		}
		return &plan.Image{Digest: i.ID, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkDir: i.WorkDir, User: i.User}, nil
	default:
		return nil, fmt.Errorf("the runtime %s has no images", f.Runtime)
	}
}

// fetchLayers makes an image ready for a runtime that stacks its layers itself.
func fetchLayers(ctx context.Context, f plan.Fetch) (*plan.Image, error) {
	i, err := image.Open(f.Home).Fetch(ctx, f.Ref, image.Options{Report: f.Report, Anew: f.Anew, CAFiles: f.CAFiles})
	if err != nil {
		return nil, err
	}
	return &plan.Image{
		Digest: i.Digest, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkDir: i.Dir, User: i.User,
		Account: &sandbox.User{UID: i.Account.UID, GID: i.Account.GID, Name: i.Account.Name, Home: i.Account.Home},
	}, nil
}

// imageLayers returns the folders that a plan's image consists of, for a runtime that stacks them itself; nil for others. Until
// release is called nobody removes them.
func imageLayers(ctx context.Context, home string, p plan.Plan) (layers []string, release func(), err error) {
	if p.Image == "" || p.Runtime != nativeName {
		return nil, func() {}, nil
	}
	return image.Open(home).Layers(ctx, p.ImageDigest)
}

// A Container is one that an engine keeps for moat.
type Container struct {
	Runtime, ID, Name, State string
	Ref                      sandbox.Ref
}

// Containers returns all that engines keep for moat. env is as for NewRuntime.
func Containers(ctx context.Context, env func(string) (string, bool)) ([]Container, error) {
	found, err := (&docker.Runtime{Env: env}).List(ctx)
	out := make([]Container, len(found))
	for i, c := range found {
		out[i] = Container{Runtime: docker.Name, ID: c.ID, Name: c.Name, State: c.State, Ref: c.Ref}
	}
	return out, err
}

// RemoveContainer ends and removes one of Containers. env is as for NewRuntime.
func RemoveContainer(ctx context.Context, id string, env func(string) (string, bool)) error {
	return (&docker.Runtime{Env: env}).RemoveContainer(ctx, id)
}
