package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options are how an image is got.
type Options struct {
	// Anew asks the registry although the image is there: what the reference means may have changed.
	Anew bool
	// Report is told of progress, by one goroutine at a time: bytes of compressed layers, done and in all. May be nil.
	Report func(done, total int64)
	// CAFiles are files of certificates (PEM) that registries are verified with besides the system's.
	CAFiles []string
	// Keychain finds the person's credentials of a registry; nil: those of docker's configuration.
	Keychain authn.Keychain
}

const (
	maxConfig  = 4 << 20 // bytes of an image's configuration
	parallel   = 3       // layers at a time
	layerTries = 3       // of a download that breaks off
)

// Fetch returns the image that ref means. It asks the registry only if the image is not in the store yet. When ctx ends, what
// was begun is removed; layers that are whole stay.
func (s *Store) Fetch(ctx context.Context, ref string, o Options) (*Image, error) {
	named, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, lockFile, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer release()
	if !o.Anew {
		image, err := s.byRef(named.Name())
		if err == nil {
			s.used(named.Name())
			return image, nil
		}
		if !errors.Is(err, errAbsent) {
			return nil, err
		}
	}
	p := puller{store: s, ref: named, options: o}
	image, err := p.pull(ctx)
	if err != nil {
		return nil, err
	}
	return image, s.keep(named.Name(), image)
}

// used notes when a reference was used last. That it cannot be noted costs at most a pull.
func (s *Store) used(ref string) {
	now := time.Now()
	_ = os.Chtimes(path.Join(s.dir, refPath(ref)), now, now)
}

// puller gets one image.
type puller struct {
	store   *Store
	ref     name.Reference
	options Options

	mu          sync.Mutex // guards done, and is held while Report is called
	done, total int64
}

// wanted is a layer that is not in the store.
type wanted struct {
	layer  v1.Layer
	diffID string
	size   int64 // compressed
}

func (p *puller) pull(ctx context.Context) (*Image, error) {
	keychain := p.options.Keychain
	if keychain == nil {
		keychain = authn.DefaultKeychain
	}
	way, err := newTransport(p.ref.Context().Registry, p.options.CAFiles)
	if err != nil {
		return nil, err
	}
	described, err := remote.Get(p.ref, remote.WithContext(ctx), remote.WithTransport(way),
		remote.WithAuthFromKeychain(keychain), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}), remote.WithUserAgent("moat"))
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	if err != nil {
		return nil, err
	}
	img, err := described.Image()
	if err != nil {
		return nil, err
	}
	image, layers, err := p.read(img)
	if err != nil {
		return nil, err
	}
	if err := p.unpackAll(ctx, layers); err != nil {
		return nil, err
	}
	for _, diffID := range slices.Compact(slices.Sorted(slices.Values(image.Layers))) {
		layer, err := p.store.layer(diffID)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", diffID, err)
		}
		image.Bytes += layer.Bytes
	}
	image.Account, err = findAccount(image.User, p.store.folders(image))
	return image, err
}

// read checks what an image says about itself, and lists the layers that are not in the store.
func (p *puller) read(img v1.Image) (*Image, []wanted, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, nil, err
	}
	if manifest.Config.Size > maxConfig {
		return nil, nil, hostile("its configuration has %d bytes", manifest.Config.Size)
	}
	if n := len(manifest.Layers); n > p.store.limits.Layers {
		return nil, nil, hostile("it has %d layers, more than %d", n, p.store.limits.Layers)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	if err := checkConfig(manifest, config); err != nil {
		return nil, nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	c := config.Config
	image := &Image{Digest: digest.String(), Env: orEmpty(c.Env), Entrypoint: orEmpty(c.Entrypoint), Cmd: orEmpty(c.Cmd), User: c.User}
	if c.WorkingDir != "" {
		image.Dir = path.Clean("/" + c.WorkingDir)
	}
	var missing []wanted
	for i, l := range layers {
		diffID := config.RootFS.DiffIDs[i].String()
		seen := slices.Contains(image.Layers, diffID)
		image.Layers = append(image.Layers, diffID)
		switch _, err := p.store.layer(diffID); {
		case seen:
		case errors.Is(err, errAbsent):
			missing = append(missing, wanted{l, diffID, manifest.Layers[i].Size})
		case err != nil:
			return nil, nil, err
		}
	}
	return image, missing, nil
}

// checkConfig refuses images that cannot run here or that do not fit together.
func checkConfig(manifest *v1.Manifest, config *v1.ConfigFile) error {
	switch {
	case len(config.RootFS.DiffIDs) != len(manifest.Layers):
		return hostile("it has %d layers and names %d", len(manifest.Layers), len(config.RootFS.DiffIDs))
	case config.OS != "" && config.OS != "linux":
		return fmt.Errorf("the image is for %s, not for linux", shorten(config.OS))
	case config.Architecture != "" && config.Architecture != runtime.GOARCH:
		return fmt.Errorf("the image is for %s, this machine is %s", shorten(config.Architecture), runtime.GOARCH)
	}
	for _, l := range manifest.Layers {
		if len(l.URLs) > 0 { // anybody's address, which we would ask for whoever made the image
			return hostile("a layer is to be got from elsewhere: %s", shorten(l.URLs[0]))
		}
		if l.Size < 0 {
			return hostile("a layer has %d bytes", l.Size)
		}
	}
	return nil
}

// unpackAll gets the layers, some at a time.
func (p *puller) unpackAll(ctx context.Context, layers []wanted) error {
	for _, w := range layers {
		p.total += w.size
	}
	if len(layers) > 0 {
		p.report(0)
	}
	b := &budget{limits: p.store.limits}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, w := range layers {
		group.Go(func() error {
			if err := p.store.withLayer(ctx, w.diffID, func(dir *os.File) (unpacked, error) { return p.download(ctx, w, dir, b) }); err != nil {
				return fmt.Errorf("layer %s: %w", w.diffID[:min(19, len(w.diffID))], err)
			}
			return nil
		})
	}
	return group.Wait()
}

// report tells of n more bytes.
func (p *puller) report(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.options.Report != nil {
		p.options.Report(p.done, p.total)
	}
}
