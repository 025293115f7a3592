package supervisor

import (
	"context"

	"moat/internal/image"
	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
)

// kinds are the runtimes of this system, best first.
func kinds() []kind { return []kind{nativeKind(), dockerKind()} }

const nativeName = "native"

// nativeKind is the built-in runtime.
func nativeKind() kind {
	return kind{
		name:   nativeName,
		make:   func(Env) sandbox.Runtime { return &native.Runtime{} },
		likely: native.Likely,
		fetch:  fetchLayers,
	}
}

// fetchLayers makes an image ready for a runtime that stacks its layers itself.
func fetchLayers(ctx context.Context, f plan.Fetch, _ Env) (*plan.Image, error) {
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
