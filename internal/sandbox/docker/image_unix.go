//go:build unix

package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"moat/internal/sandbox/box"
)

// Fetch returns what an image says. If the engine does not have it, the engine pulls it, with the person's credentials for
// the registry.
func (r *Runtime) Fetch(ctx context.Context, w box.Wanted) (box.Image, error) {
	eng, err := r.find(ctx)
	if err != nil {
		return box.Image{}, r.diagnose(Endpoint{}, err)
	}
	defer eng.close()
	info, err := eng.image(ctx, w.Ref)
	if errors.Is(err, errNotFound) || err == nil && w.Anew {
		if err := eng.pull(ctx, w.Ref, w.Report); err != nil {
			return box.Image{}, fmt.Errorf("pull: %w", err)
		}
		info, err = eng.image(ctx, w.Ref)
	}
	if errors.Is(err, errUnreachable) {
		return box.Image{}, r.diagnose(eng.at, err)
	}
	if err != nil {
		return box.Image{}, err
	}
	if info.Os != "" && info.Os != "linux" {
		return box.Image{}, fmt.Errorf("it is an image for %s", info.Os)
	}
	c := info.Config
	return box.Image{ID: info.ID, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkDir: c.WorkingDir, User: c.User}, nil
}

// pull lets the engine get an image, and returns when it has.
func (e *engine) pull(ctx context.Context, text string, report func(done, total int64)) error {
	ref, err := name.ParseReference(text)
	if err != nil {
		return err
	}
	auth, err := credentials(ref.Context())
	if err != nil {
		return err
	}
	resp, err := e.send(ctx, call{
		method: http.MethodPost, path: "/images/create",
		query:  url.Values{"fromImage": {ref.Context().Name()}, "tag": {ref.Identifier()}},
		header: http.Header{"X-Registry-Auth": {auth}},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := follow(resp.Body, report); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// credentials are the person's for a registry, as the engine wants them: those of the docker command.
func credentials(repo name.Repository) (string, error) {
	found, err := authn.DefaultKeychain.Resolve(repo)
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", repo.RegistryStr(), err)
	}
	config, err := found.Authorization()
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", repo.RegistryStr(), err)
	}
	data, err := json.Marshal(map[string]string{
		"username": config.Username, "password": config.Password, "identitytoken": config.IdentityToken, "registrytoken": config.RegistryToken,
		"serveraddress": repo.RegistryStr(),
	})
	if err != nil {
		return "", err
	}
	return base64.URLEncoding.EncodeToString(data), nil
}

// progress is one line of an engine's report on a pull.
type progress struct {
	ID             string `json:"id"`
	Status         string `json:"status"`
	Error          string `json:"error"`
	ProgressDetail struct{ Current, Total int64 }
}

// follow reads a report to its end. A pull that fails says so in the report, after a good answer.
func follow(r io.Reader, report func(done, total int64)) error {
	done, total := map[string]int64{}, map[string]int64{}
	dec := json.NewDecoder(io.LimitReader(r, 1<<30))
	for {
		var p progress
		err := dec.Decode(&p)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the engine's report: %w", err)
		case p.Error != "":
			return errors.New(strings.TrimSpace(p.Error))
		}
		if p.ProgressDetail.Total == 0 || p.Status != "Downloading" {
			continue // the same layer is counted again while it is unpacked
		}
		done[p.ID], total[p.ID] = p.ProgressDetail.Current, p.ProgressDetail.Total
		if report != nil {
			report(sum(done), sum(total))
		}
	}
}

func sum(parts map[string]int64) int64 {
	var n int64
	for _, p := range parts {
		n += p
	}
	return n
}
