//go:build unix

package apple_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/sandbox"
	"moat/internal/sandbox/apple"
)

// programsEnv tells the processes that a test starts where the programs are: the stand-in for Apple's command ("container"), and
// for the suite moat and the probe.
const programsEnv = "MOAT_TEST_PROGRAMS"

// A stand is a folder with the stand-in for Apple's command, and all that it knows.
type stand struct {
	t   testing.TB
	dir string
}

const testImage, testDigest = "debian:12", "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func newStand(t testing.TB) *stand {
	t.Helper()
	s := &stand{t, t.TempDir()}
	if err := os.Symlink(filepath.Join(os.Getenv(programsEnv), "container"), filepath.Join(s.dir, "container")); err != nil {
		t.Fatal(err)
	}
	s.write("version", "1.2.0")
	s.write("guest", "ok\n")
	s.write("images/"+url.PathEscape(testImage), imageJSON("arm64", testDigest))
	return s
}

// imageJSON is what "image inspect" says of an image, without the list around it.
func imageJSON(arch, digest string) string {
	return fmt.Sprintf(`{"id": %[2]q, "name": "docker.io/library/debian:12", "index": {"digest": %[2]q, "mediaType": "m", "size": 1}, "variants": [
		{"platform": {"os": "linux", "architecture": "s390x"}, "size": 1, "config": {"architecture": "s390x", "config": {"User": "other"}}},
		{"platform": {"os": "linux", "architecture": %[1]q}, "size": 1, "config": {"architecture": %[1]q, "os": "linux", "config":
			{"User": "node", "Env": ["A=b"], "Entrypoint": ["/init"], "Cmd": ["sh"], "WorkingDir": "/srv"}}}]}`, arch, digest)
}

func (s *stand) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stand) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) remove(name string) {
	s.t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// calls returns the command lines of now, and forgets them.
func (s *stand) calls() [][]string {
	s.t.Helper()
	b, err := os.ReadFile(s.path("calls"))
	if err != nil || !strings.HasSuffix(string(b), "\n") { // it is being written
		return nil
	}
	var out [][]string
	for l := range strings.Lines(string(b)) {
		var args []string
		if err := json.Unmarshal([]byte(l), &args); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, args)
	}
	s.remove("calls")
	return out
}

// lookup is the environment of a runtime that finds the stand-in.
func (s *stand) lookup(name string) (string, bool) {
	v, ok := map[string]string{"PATH": "bin:" + s.dir, "HOME": "/home/me", "SECRET_TOKEN": "x"}[name]
	return v, ok
}

func (s *stand) runtime() *apple.Runtime {
	return &apple.Runtime{Env: s.lookup, Exe: filepath.Join(os.Getenv(programsEnv), "container")} // any file will do
}

// spec describes a sandbox in new folders.
func (s *stand) spec() sandbox.Spec {
	s.t.Helper()
	base := s.t.TempDir()
	spec := sandbox.Spec{
		Ref:      sandbox.Ref{ID: "run-0123456789ab", Dir: filepath.Join(base, "home", "sandbox")},
		Hostname: "h", Image: sandbox.Image{Ref: testImage, Digest: testDigest, Dir: "/srv"}, Workspace: filepath.Join(base, "workspace"),
		User: sandbox.User{UID: 501, GID: 20, Name: "me", Home: "/Users/me"}, Secret: []byte("0123456789abcdef0123456789abcdef"), Network: true,
	}
	for _, dir := range []string{filepath.Dir(spec.Dir), spec.Workspace} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	return spec
}

// started is a sandbox that runs, as far as the stand-in knows.
func (s *stand) started(r *apple.Runtime) sandbox.Spec {
	s.t.Helper()
	spec := s.spec()
	if err := r.Start(s.t.Context(), spec); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = r.Remove(context.Background(), spec.Ref) })
	s.calls()
	return spec
}

// buildPrograms builds programs of this module into a folder.
func buildPrograms(dir string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}
