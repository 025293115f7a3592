package bench

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// unpacks is how often an image is unpacked.
const unpacks = 5

// measureUnpack times a pull from a registry on this machine into an empty home, with a run, against "docker load" of the same
// compressed layers: Go's sources, which are thousands of small files, and its programs, a few large ones.
func measureUnpack(t *testing.T, b *bench) {
	if b.engine == nil {
		return
	}
	img := goImage(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/go:bench")
	if err == nil {
		err = remote.Write(ref, img)
	}
	archive := filepath.Join(scratch(t), "image.tar")
	if err == nil {
		err = tarball.WriteToFile(archive, ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	moat := b.command("run", "-q", "--image", ref.Name(), "--", "/bin/busybox", "true")
	peer := program{args: []string{b.engine.docker, "load", "-q", "-i", archive}, env: b.engine.env}
	var mine, others series
	for round := range unpacks + 1 {
		if err := os.RemoveAll(filepath.Join(b.home, "images")); err != nil {
			t.Fatal(err)
		}
		remove := exec.CommandContext(t.Context(), b.engine.docker, "image", "rm", "-f", ref.Name())
		remove.Env = b.engine.env
		if out, err := remove.CombinedOutput(); err != nil && round > 0 {
			t.Fatalf("docker image rm: %v\n%s", err, out)
		}
		m, o := moat.execute(t), peer.execute(t)
		if round > 0 {
			mine, others = append(mine, m), append(others, o)
		}
	}
	b.add(compare("pull, unpack and run an image", wall, mine, others).to("docker load", 1.25))
}

// goImage is an image of the Go installation, with a busybox.
func goImage(t *testing.T) v1.Image {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	goroot := strings.TrimSpace(string(root))
	img := empty.Image
	for _, folder := range []string{filepath.Join(goroot, "src"), filepath.Join(goroot, "pkg"), busybox} {
		data := packFolder(t, folder)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", goruntime.GOARCH
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// packFolder makes an archive of the files of a folder below opt, or of one program in bin.
func packFolder(t *testing.T, folder string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	top, place := filepath.Dir(folder), "opt"
	if fi, err := os.Stat(folder); err == nil && !fi.IsDir() {
		place = "bin"
	}
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(fi, "")
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		h.Name = filepath.Join(place, rel)
		if err := w.WriteHeader(h); err != nil || fi.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
