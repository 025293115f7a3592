package apple_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"moat/internal/sandbox"
	"moat/internal/sandbox/apple"
	"moat/internal/sandbox/enginetest"
	"moat/internal/sandbox/sandboxtest"
)

func runTests(m *testing.M) int {
	return sandboxtest.Main(m, func() sandbox.Runtime { return suiteRuntime() })
}

// suiteRuntime finds the stand-in that runs containers for real, beside the programs.
func suiteRuntime() *apple.Runtime {
	dir := os.Getenv(programsEnv)
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"PATH": dir + ":" + os.Getenv("PATH"), "HOME": dir}[name]
		return v, ok
	}
	return &apple.Runtime{Env: env, Exe: filepath.Join(dir, "moat"), Arch: runtime.GOARCH}
}

// rootCaps are what root has in a container: Docker's default without NET_ADMIN, NET_RAW and NET_BIND_SERVICE.
const rootCaps = 0xa80401fb

// TestConformance runs the suite on the stand-in: what the runtime and the guest do, in containers of an engine's. Of Apple's
// machines it shows nothing.
func TestConformance(t *testing.T) {
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	image := withEngine(t)
	sandboxtest.Run(t, func(testing.TB) sandbox.Runtime { return suiteRuntime() }, sandboxtest.Options{
		User:         sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: "agent", Home: "/home/agent"},
		Image:        image,
		SharedKernel: true,
		Caps:         rootCaps, BoundedCaps: rootCaps,
		PlainPaths: true,
		Many:       6, StartTime: 1200 * time.Millisecond, Kills: 12,
		MayAllow:  []string{"mknod disk", "mknod memory", "setgroups", "capset"}, // root's rights in a container
		Leftovers: leftover,
		Probe:     filepath.Join(os.Getenv(programsEnv), "probe"),
	})
}

// withEngine starts an engine behind the stand-in, and returns an image that both know.
func withEngine(t *testing.T) sandbox.Image {
	t.Helper()
	s := &stand{t, os.Getenv(programsEnv)}
	if err := buildPrograms(s.dir, "moat/cmd/moat", "moat/internal/sandbox/sandboxtest/testdata/probe"); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "moat-apple-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	engine, err := enginetest.Start(dir)
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	t.Cleanup(func() {
		if err := errors.Join(engine.Destroy(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	tree, err := enginetest.Tree("bash", "env")
	if err != nil {
		t.Fatal(err)
	}
	id, err := engine.Import(tree, "moat-test")
	if err != nil {
		t.Fatal(err)
	}
	s.write("version", "1.2.0")
	s.write("engine", engine.Host)
	t.Cleanup(func() { s.remove("engine") })
	return sandbox.Image{Ref: "moat-test", Digest: id}
}

// leftover asks the stand-in for containers of a sandbox that is gone.
func leftover(ref sandbox.Ref) []string {
	found, err := suiteRuntime().List(context.Background())
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for _, c := range found {
		if c.Ref == ref {
			left = append(left, c.Name+", "+c.State)
		}
	}
	return left
}
