package image

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// lab is a registry on this machine, in front of which a test may stand, and a store.
type lab struct {
	*Store
	host string // of the registry

	mu    sync.Mutex // guards the rest
	front func(next http.Handler, w http.ResponseWriter, r *http.Request)
	asked []string // METHOD path
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{Store: Open(t.TempDir())}
	behind := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.asked = append(l.asked, r.Method+" "+r.URL.Path)
		front := l.front
		l.mu.Unlock()
		if front == nil {
			behind.ServeHTTP(w, r)
			return
		}
		front(behind, w, r)
	}))
	t.Cleanup(server.Close)
	l.host = strings.TrimPrefix(server.URL, "http://")
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // not the person's own
	return l
}

// meet puts a test in front of the registry.
func (l *lab) meet(front func(next http.Handler, w http.ResponseWriter, r *http.Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.front, l.asked = front, nil
}

// requests counts what was asked for since meet and begins so.
func (l *lab) requests(prefix string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.asked {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// push stores an image in the registry and returns its reference.
func (l *lab) push(t testing.TB, repository string, img v1.Image) string {
	t.Helper()
	ref := l.host + "/" + repository
	named, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(named, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// layer makes a compressed layer.
func layer(t testing.TB, members ...member) v1.Layer {
	t.Helper()
	return layerOf(t, archive(t, members...))
}

func layerOf(t testing.TB, data []byte, options ...tarball.LayerOption) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// build makes an image for this machine.
func build(t testing.TB, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// stored lists what is in the store's folder of layers, without locks.
func (l *lab) stored(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.dir, layersDir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

// blob is the path of a layer's blob in the registry.
func blob(t testing.TB, repository string, l v1.Layer) string {
	t.Helper()
	digest, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/v2/%s/blobs/%s", repository, digest)
}
