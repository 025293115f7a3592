//go:build unix

package apple

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"moat/internal/sandbox/box"
)

// pullTime bounds the pull of an image, of which the command tells nothing meanwhile.
const pullTime = time.Hour

// Fetch returns what an image says. If the command's system does not have it, it pulls it, with the credentials that
// "container registry login" has stored. How far it is, is not reported.
func (r *Runtime) Fetch(ctx context.Context, w box.Wanted) (box.Image, error) {
	if _, err := name.ParseReference(w.Ref); err != nil {
		return box.Image{}, err
	}
	if strings.HasPrefix(w.Ref, "-") {
		return box.Image{}, fmt.Errorf("%q would be an option of Apple's container command", w.Ref)
	}
	c, err := r.find()
	if err != nil {
		return box.Image{}, diagnose(err)
	}
	image, err := r.inspect(ctx, c, w.Ref)
	var refused *commandError
	if errors.As(err, &refused) && !errors.Is(err, errStopped) || err == nil && w.Anew {
		pull := call{args: []string{"image", "pull", "--progress", "none", "--platform", "linux/" + r.arch(), w.Ref}, verb: "image pull", time: pullTime}
		if _, err := c.ask(ctx, pull); err != nil {
			return box.Image{}, fmt.Errorf("pull: %w", err)
		}
		image, err = r.inspect(ctx, c, w.Ref)
	}
	if errors.Is(err, errStopped) || errors.Is(err, errSilent) {
		return box.Image{}, diagnose(err)
	}
	return image, err
}

func (r *Runtime) inspect(ctx context.Context, c command, ref string) (box.Image, error) {
	out, err := c.ask(ctx, call{args: []string{"image", "inspect", ref}, verb: "image inspect"})
	if err != nil {
		return box.Image{}, err
	}
	found, err := parseImage(out)
	if err != nil {
		return box.Image{}, err
	}
	for _, v := range found.Variants {
		if v.Platform.OS == "linux" && v.Platform.Architecture == r.arch() {
			c := v.Config.Config
			return box.Image{ID: found.Index.Digest, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkDir: c.WorkingDir, User: c.User}, nil
		}
	}
	return box.Image{}, fmt.Errorf("there is none for linux/%s", r.arch())
}
