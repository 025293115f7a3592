package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// base and top are two layers of an image.
func base(t testing.TB) v1.Layer {
	return layer(t, member{name: "etc/passwd", content: "root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n"},
		member{name: "old", content: "old"}, member{name: "dir/a", content: "a"})
}

func top(t testing.TB) v1.Layer {
	return layer(t, member{name: ".wh.old"}, member{name: "dir/.wh..wh..opq"}, member{name: "dir/b", content: "b"})
}

func TestFetch(t *testing.T) {
	l := newLab(t)
	img := build(t, v1.Config{Env: []string{"A=1"}, Entrypoint: []string{"/init"}, Cmd: []string{"serve"}, WorkingDir: "srv/app", User: "node"}, base(t), top(t))
	ref := l.push(t, "web/app:1", img)
	var done, total int64
	got, err := l.Fetch(t.Context(), ref, Options{Report: func(d, all int64) { done, total = d, all }})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	want := &Image{
		Digest: digest.String(), Layers: got.Layers, Bytes: 68, Env: []string{"A=1"}, Entrypoint: []string{"/init"}, Cmd: []string{"serve"}, Dir: "/srv/app", User: "node",
		Account: Account{UID: 1000, GID: 1001, Name: "node", Home: "/home/node"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if done == 0 || done != total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	dirs, release, err := l.Layers(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var files []string
	for _, dir := range dirs {
		files = append(files, strings.Join(listing(t, dir), "\n"))
	}
	wantFiles := []string{
		"d0755 dir\n-0644 dir/a a\nd0755 etc\n-0644 etc/passwd root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n\n-0644 old old",
		"d0755 dir opaque=y\n-0644 dir/b b\nc0000 old 0",
	}
	wantFiles[0] = strings.Replace(wantFiles[0], "/bin/sh\n\n-0644", "/bin/sh\n-0644", 1) // listing trims
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFetchWithoutNetwork(t *testing.T) {
	l := newLab(t)
	ref := l.push(t, "app", build(t, v1.Config{}, base(t)))
	first, err := l.Fetch(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.meet(func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusInternalServerError)
	})
	again, err := Open(filepath.Dir(l.dir)).Fetch(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	if n := l.requests(""); n != 0 {
		t.Errorf("the registry was asked %d times for what is there", n)
	}
	l.meet(nil)
	moved := l.push(t, "app", build(t, v1.Config{Cmd: []string{"new"}}, base(t)))
	if got, err := l.Fetch(t.Context(), moved, Options{Anew: true}); err != nil || got.Digest == first.Digest {
		t.Errorf("anew: %+v, %v", got, err)
	}
	if n := l.requests("GET /v2/app/blobs/"); n != 1 { // the configuration
		t.Errorf("%d blobs were asked for, though the layer was there", n)
	}
}

func TestFetchCompressions(t *testing.T) {
	data := archive(t, member{name: "file", content: strings.Repeat("content ", 100_000)})
	for _, test := range []struct {
		name  string
		layer v1.Layer
	}{
		{"gzip", layerOf(t, data)},
		{"zstd", layerOf(t, data, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))},
		{"none", static.NewLayer(data, types.OCIUncompressedLayer)},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			if _, err := l.Fetch(t.Context(), l.push(t, "a", build(t, v1.Config{}, test.layer)), Options{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFetchRefuses gives images that do not hold what they promise. Nothing of them is kept.
func TestFetchRefuses(t *testing.T) {
	zeros := make([]byte, 100<<20)
	wrongID := func(t *testing.T) v1.Image {
		img := build(t, v1.Config{}, base(t))
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
		if img, err = mutate.ConfigFile(img, file); err != nil {
			t.Fatal(err)
		}
		return img
	}
	foreign := func(t *testing.T) v1.Image {
		img, err := mutate.Append(build(t, v1.Config{}), mutate.Addendum{Layer: base(t), URLs: []string{"http://127.0.0.1:1/secret"}})
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	config := func(t *testing.T, change func(*v1.ConfigFile)) v1.Image {
		img := build(t, v1.Config{}, base(t))
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		change(file)
		if img, err = mutate.ConfigFile(img, file); err != nil {
			t.Fatal(err)
		}
		return img
	}
	for _, test := range []struct {
		name  string
		image func(*testing.T) v1.Image
		want  string
	}{
		{"content that is not what its diff id says", wrongID, "not what the image says"},
		{"a layer from elsewhere", foreign, "got from elsewhere"},
		{"a bomb", func(t *testing.T) v1.Image {
			return build(t, v1.Config{}, layer(t, member{name: "zeros", content: string(zeros)}))
		}, "far larger"},
		{"no archive", func(t *testing.T) v1.Image {
			return build(t, v1.Config{}, layerOf(t, bytes.Repeat([]byte("nonsense"), 1000)))
		}, "not a tar archive"},
		{"another machine", func(t *testing.T) v1.Image { return config(t, func(c *v1.ConfigFile) { c.Architecture = "s390x" }) }, "is for s390x"},
		{"another system", func(t *testing.T) v1.Image { return config(t, func(c *v1.ConfigFile) { c.OS = "windows" }) }, "is for windows"},
		{"fewer names than layers", func(t *testing.T) v1.Image { return config(t, func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }) }, "names 0"},
		{"digests that are none", func(t *testing.T) v1.Image {
			return config(t, func(c *v1.ConfigFile) { c.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha256", Hex: "../../.."} })
		}, "non-hex"},
		{"an unknown user", func(t *testing.T) v1.Image { return build(t, v1.Config{User: "nobody-knows"}, base(t)) }, "nobody-knows"},
		{"a hostile layer", func(t *testing.T) v1.Image { return build(t, v1.Config{}, layer(t, member{name: "../x"})) }, "leads out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			ref := l.push(t, "x", test.image(t))
			_, err := l.Fetch(t.Context(), ref, Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			for _, name := range l.stored(t) {
				if strings.HasPrefix(name, ".") {
					t.Errorf("left: %s", name)
				}
			}
			if _, err := l.byRef(ref); !errors.Is(err, errAbsent) {
				t.Errorf("it is kept: %v", err)
			}
		})
	}
}

func TestFetchTooManyLayers(t *testing.T) {
	l := newLab(t)
	l.limits.Layers = 2
	ref := l.push(t, "x", build(t, v1.Config{}, layer(t, member{name: "1"}), layer(t, member{name: "2"}), layer(t, member{name: "3"})))
	if _, err := l.Fetch(t.Context(), ref, Options{}); !errors.Is(err, ErrHostile) {
		t.Errorf("%v", err)
	}
	if n := l.requests("GET /v2/x/blobs/"); n != 0 {
		t.Errorf("%d blobs were asked for", n)
	}
}

// TestFetchFromALyingRegistry changes what the registry sends.
func TestFetchFromALyingRegistry(t *testing.T) {
	content := base(t)
	r, err := content.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, sent := range map[string][]byte{
		"one bit": flipped, "more": append(bytes.Clone(good), "more"...), "less": good[:len(good)-10], "nothing": nil,
		"another layer": bytes.Repeat([]byte{0}, len(good)),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			ref, path := l.push(t, "x", build(t, v1.Config{}, content)), blob(t, "x", content)
			l.meet(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != path {
					next.ServeHTTP(w, r)
					return
				}
				_, _ = w.Write(sent)
			})
			if _, err := l.Fetch(t.Context(), ref, Options{}); err == nil {
				t.Error("it was taken")
			}
			if left := l.stored(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestFetchGoesOnAfterABreak(t *testing.T) {
	l := newLab(t)
	content := layer(t, member{name: "file", content: strings.Repeat("0123456789", 100_000)})
	ref, path := l.push(t, "x", build(t, v1.Config{}, content)), blob(t, "x", content)
	var once sync.Once
	l.meet(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		broken := false
		if r.URL.Path == path {
			once.Do(func() {
				broken = true
				w.Header().Set("Content-Length", "5000")
				_, _ = w.Write([]byte{0x1f, 0x8b, 8})
				panic(http.ErrAbortHandler)
			})
		}
		if !broken {
			next.ServeHTTP(w, r)
		}
	})
	var done, total int64
	if _, err := l.Fetch(t.Context(), ref, Options{Report: func(d, all int64) { done, total = d, all }}); err != nil {
		t.Fatal(err)
	}
	if done != total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
}

func TestFetchTogether(t *testing.T) {
	l := newLab(t)
	layers := []v1.Layer{base(t), top(t)}
	ref := l.push(t, "x", build(t, v1.Config{}, layers...))
	l.meet(func(next http.Handler, w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) })
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := Open(filepath.Dir(l.dir)).Fetch(t.Context(), ref, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, layer := range layers {
		if n := l.requests("GET " + blob(t, "x", layer)); n != 1 {
			t.Errorf("a layer was got %d times", n)
		}
	}
}

func TestFetchInterrupted(t *testing.T) {
	l := newLab(t)
	content := layer(t, member{name: "file", content: strings.Repeat("0123456789", 100_000)})
	ref, path := l.push(t, "x", build(t, v1.Config{}, content)), blob(t, "x", content)
	ctx, cancel := context.WithCancel(t.Context())
	l.meet(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			next.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write([]byte{0x1f, 0x8b, 8})
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done() // as a registry that hangs
	})
	if _, err := l.Fetch(ctx, ref, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left := l.stored(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// A pull that was killed could not clear up.
	id, _ := content.DiffID()
	if err := os.MkdirAll(filepath.Join(l.dir, layersDir, newPrefix+id.Hex+"-DEAD", filesDir), 0o700); err != nil {
		t.Fatal(err)
	}
	l.meet(nil)
	if _, err := l.Fetch(t.Context(), ref, Options{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{id.Hex}, l.stored(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFetchWithCredentials holds the person's credentials to the registry that they are for.
func TestFetchWithCredentials(t *testing.T) {
	l := newLab(t)
	content := base(t)
	ref, path := l.push(t, "x", build(t, v1.Config{}, content)), blob(t, "x", content)
	var mu sync.Mutex
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		leaked = append(leaked, r.Header.Get("Authorization"))
		body, err := content.Compressed()
		if err == nil {
			_, err = io.Copy(w, body)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	defer elsewhere.Close()
	l.meet(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case user != "me" || password != "secret":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == path:
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		default:
			next.ServeHTTP(w, r)
		}
	})
	if _, err := l.Fetch(t.Context(), ref, Options{}); !errors.Is(err, ErrDenied) {
		t.Fatalf("without credentials: %v", err)
	}
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, l.host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Fetch(t.Context(), ref, Options{}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{""}, leaked); diff != "" {
		t.Errorf("what the redirect's target was told (-want +got):\n%s", diff)
	}
}

func TestTransportGuardsHTTP(t *testing.T) {
	for _, test := range []struct {
		url   string
		local bool // the registry
		ok    bool
	}{
		{"https://registry.example/v2/", false, true},
		{"http://registry.example/v2/", false, false},
		{"http://192.168.1.1:5000/v2/", false, false},
		{"http://registry.local/v2/", false, false},
		{"http://127.0.0.1:5000/v2/", false, false}, // a registry elsewhere sends us there
		{"http://127.0.0.1:5000/v2/", true, true},
		{"http://[::1]:5000/v2/", true, true},
		{"http://localhost:5000/v2/", true, true},
		{"http://registry.example/v2/", true, false},
		{"http://localhost.example/v2/", true, false},
		{"http://127.0.0.1.example/v2/", true, false},
		{"ftp://127.0.0.1/", false, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		passed := false
		g := &guarded{local: test.local, next: roundTripper(func() { passed = true })}
		if resp, err := g.RoundTrip(r); err == nil {
			resp.Body.Close()
		} else if !errors.Is(err, ErrInsecure) {
			t.Error(err)
		}
		if passed != test.ok {
			t.Errorf("%s, local registry %v: passed %v", test.url, test.local, passed)
		}
	}
}

// TestFetchTrustsTheCompany gets an image from a registry whose certificate only the person's own file vouches for.
func TestFetchTrustsTheCompany(t *testing.T) {
	l := newLab(t)
	img := build(t, v1.Config{}, base(t))
	l.push(t, "x", img)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: l.host})
	server := httptest.NewUnstartedServer(behind)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "https://") + "/x"
	if _, err := l.Fetch(t.Context(), ref, Options{}); err == nil {
		t.Fatal("it was got from a server that nobody knows")
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Fetch(t.Context(), ref, Options{CAFiles: []string{file}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Fetch(t.Context(), ref, Options{CAFiles: []string{"/nowhere"}, Anew: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

type roundTripper func()

func (f roundTripper) RoundTrip(*http.Request) (*http.Response, error) {
	f()
	return &http.Response{Body: http.NoBody}, nil
}

func TestFetchFromAHangingRegistryEnds(t *testing.T) {
	l := newLab(t)
	l.meet(func(_ http.Handler, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := l.Fetch(ctx, l.host+"/x", Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
