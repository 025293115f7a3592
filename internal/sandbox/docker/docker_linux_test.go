package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"moat/internal/sandbox"
	"moat/internal/sandbox/docker"
	"moat/internal/sandbox/enginetest"
	"moat/internal/sandbox/sandboxtest"
)

// Told to the processes that a test starts.
const (
	programsEnv = "MOAT_TEST_PROGRAMS" // folder with moat and probe
	imageEnv    = "MOAT_TEST_IMAGE"    // id of an image in the engine of DOCKER_HOST; empty: there is no engine
)

func TestMain(m *testing.M) {
	code, err := prepared(func() int {
		return sandboxtest.Main(m, func() sandbox.Runtime { return newRuntime() })
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func newRuntime() *docker.Runtime {
	return &docker.Runtime{Env: os.LookupEnv, Exe: filepath.Join(os.Getenv(programsEnv), "moat")}
}

// prepared runs the tests with programs and, where that is possible, an engine.
func prepared(run func() int) (code int, err error) {
	if os.Getenv(programsEnv) != "" {
		return run(), nil
	}
	dir, err := os.MkdirTemp("", "moat-docker-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	cmd := exec.Command("go", "build", "-o", dir, "moat/cmd/moat", "moat/internal/sandbox/sandboxtest/testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := os.Setenv(programsEnv, dir); err != nil {
		return 1, err
	}
	if enginetest.Missing() != "" {
		return run(), nil
	}
	if err := os.Mkdir(filepath.Join(dir, "engine"), 0o755); err != nil {
		return 1, err
	}
	engine, err := enginetest.Start(filepath.Join(dir, "engine"))
	if err != nil {
		return 1, err
	}
	defer func() {
		if e := engine.Destroy(); e != nil && err == nil {
			code, err = 1, e
		}
	}()
	image, err := importImage(engine, "moat-test")
	if err != nil {
		return 1, err
	}
	for name, value := range map[string]string{"DOCKER_HOST": engine.Host, imageEnv: image} {
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	// The suite runs as an ordinary user too.
	if err := os.Chmod(filepath.Join(dir, "engine/engine.sock"), 0o666); err != nil {
		return 1, err
	}
	return run(), nil
}

func importImage(engine *enginetest.Engine, tag string, changes ...string) (string, error) {
	tree, err := enginetest.Tree("bash", "env")
	if err != nil {
		return "", err
	}
	return engine.Import(tree, tag, changes...)
}

// leftoverContainers asks the engine for containers of a sandbox that is gone.
func leftoverContainers(ref sandbox.Ref) []string {
	found, err := newRuntime().List(context.Background())
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

// needEngine skips a test where no engine can be run.
func needEngine(t *testing.T) {
	t.Helper()
	if os.Getenv(imageEnv) == "" {
		t.Skip(enginetest.Missing())
	}
}

// rootCaps are what root has in a container: Docker's default without NET_ADMIN, NET_RAW and NET_BIND_SERVICE.
const rootCaps = 0xa80401fb

// mayAllow are the calls that Docker's default profile and capabilities allow, at least in some versions.
func mayAllow() []string {
	return []string{
		"mknod disk", "mknod memory", "chroot", "setgroups", "capset", "socket vsock", "socket alg", "socket alg, high bits", "TIOCSTI",
		"TIOCSTI, high bits", "TIOCLINUX", "io_uring_setup", "i386 getpid", "i386 io_uring_setup",
	}
}

// TestConformance runs the suite with each way to reach a guest.
func TestConformance(t *testing.T) {
	needEngine(t)
	conformEachWay(t, false)
}

func conformEachWay(t *testing.T, podman bool) {
	for _, way := range []string{"socket", "relay"} {
		t.Run(way, func(t *testing.T) {
			t.Setenv(docker.LineEnv, way)
			conform(t, podman)
		})
	}
}

// TestPodman runs the suite with Podman's service.
func TestPodman(t *testing.T) {
	if why := enginetest.MissingPodman(); why != "" {
		t.Skip(why)
	}
	dir, err := os.MkdirTemp("", "moat-podman-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	engine, err := enginetest.StartPodman(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Destroy(); err != nil {
			t.Error(err)
		}
	})
	image, err := importImage(engine, "moat-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", engine.Host)
	t.Setenv(imageEnv, image)
	conformEachWay(t, true)
}

func conform(t *testing.T, podman bool) {
	caps := uint64(rootCaps)
	if os.Getuid() != 0 {
		caps = 0
	}
	sandboxtest.Run(t, func(testing.TB) sandbox.Runtime { return newRuntime() }, sandboxtest.Options{
		User:         sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: "agent", Home: "/home/agent"},
		Image:        sandbox.Image{Ref: "moat-test", Digest: os.Getenv(imageEnv)},
		SharedKernel: true,
		PlainPaths:   podman,
		Caps:         caps, BoundedCaps: rootCaps,
		Many: 8, StartTime: 400 * time.Millisecond,
		MayAllow:  mayAllow(),
		Leftovers: leftoverContainers,
		Probe:     filepath.Join(os.Getenv(programsEnv), "probe"),
	})
}

// otherUser is a user that no machine knows.
const otherUser = 31337

// TestConformanceAsOrdinaryUser runs the suite again as somebody who may use the engine and nothing else.
func TestConformanceAsOrdinaryUser(t *testing.T) {
	needEngine(t)
	if os.Getuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	base, err := os.MkdirTemp("", "moat-user-") //nolint:usetesting // t.TempDir is not for other users to enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	if err := os.Chown(base, otherUser, otherUser); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(os.Getenv(programsEnv), "docker.test")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^TestConformance$", "-test.timeout=5m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = base
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + base, "HOME=" + base}
	for _, name := range []string{programsEnv, imageEnv, "DOCKER_HOST"} {
		cmd.Env = append(cmd.Env, name+"="+os.Getenv(name))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
