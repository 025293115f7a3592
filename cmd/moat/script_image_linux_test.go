package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// doRegistry starts a registry on this machine and puts its address into $REGISTRY. "registry off" ends it.
func doRegistry(ts *testscript.TestScript, neg bool, args []string) {
	j := jobsOf(ts)
	switch {
	case neg || len(args) > 1 || len(args) == 1 && args[0] != "off":
		ts.Fatalf("usage: registry [off]")
	case len(args) == 1:
		j.registry.Close()
		return
	}
	j.registry = httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(j.registry.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(j.registry.URL, "http://"))
	ts.Setenv("DOCKER_CONFIG", ts.MkAbs(".docker"))
}

// doPush makes an image of a layer for each folder, with a configuration as JSON, and pushes it.
func doPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: push NAME CONFIG FOLDER…")
	}
	ref, err := name.ParseReference(ts.Getenv("REGISTRY") + "/" + args[0])
	ts.Check(err)
	img := empty.Image
	for _, folder := range args[2:] {
		data, err := pack(ts.MkAbs(folder))
		ts.Check(err)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		ts.Check(err)
		img, err = mutate.AppendLayers(img, layer)
		ts.Check(err)
	}
	file, err := img.ConfigFile()
	ts.Check(err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, v1.Config{}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &file.Config))
	img, err = mutate.ConfigFile(img, file)
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}

// pack makes a tar archive of a folder. Its files belong to root.
func pack(folder string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if fi.Mode().Type() == fs.ModeSymlink {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(fi, link)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(folder, path); err != nil {
			return err
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		if err := w.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	return b.Bytes(), errors.Join(err, w.Close())
}
