package native_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
	"moat/internal/sandbox/sandboxtest"
)

// Where the programs are that a test needs: told to the processes that it starts, which may be unable to build them.
const (
	programsEnv = "MOAT_TEST_PROGRAMS" // folder with moat and probe
	otherUser   = 31337                // a user that no machine knows
)

func TestMain(m *testing.M) {
	code, err := withPrograms(func() int {
		return sandboxtest.Main(m, func() sandbox.Runtime { return newRuntime() })
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func newRuntime() *native.Runtime {
	return &native.Runtime{Exe: filepath.Join(os.Getenv(programsEnv), "moat")}
}

// withPrograms builds moat and the probe, unless somebody did, in a folder that every user can read.
func withPrograms(run func() int) (int, error) {
	if os.Getenv(programsEnv) != "" {
		return run(), nil
	}
	dir, err := os.MkdirTemp("", "moat-native-")
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
	return run(), nil
}

func TestConformance(t *testing.T) {
	leak(t)
	sandboxtest.Run(t, func(testing.TB) sandbox.Runtime { return newRuntime() }, sandboxtest.Options{
		User:         sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: "agent", Home: "/home/agent"},
		Tools:        true,
		SharedKernel: true,
		OwnMounts:    true, NoUserNamespaces: true,
		Landlock:  native.LandlockABI() >= 2,
		Probe:     filepath.Join(os.Getenv(programsEnv), "probe"),
		Leftovers: leftoverGroups,
	})
}

// TestConformanceWithImage runs the suite in an image in which there is nothing, as a user of the image.
func TestConformanceWithImage(t *testing.T) {
	leak(t)
	layer := t.TempDir()
	sandboxtest.Run(t, func(testing.TB) sandbox.Runtime { return newRuntime() }, sandboxtest.Options{
		User:         sandbox.User{UID: 1234, GID: 4321, Name: "agent", Home: "/home/agent"},
		Image:        sandbox.Image{Ref: "nothing", Layers: []string{layer}},
		SharedKernel: true,
		Landlock:     native.LandlockABI() >= 2,
		Probe:        filepath.Join(os.Getenv(programsEnv), "probe"),
		Leftovers:    leftoverGroups,
	})
}

// leak opens a descriptor that programs inherit, as a careless parent of moat might.
func leak(t *testing.T) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = syscall.Close(fds[0]), syscall.Close(fds[1]) })
}

// leftoverGroups looks for cgroups of a sandbox that is gone.
func leftoverGroups(ref sandbox.Ref) []string {
	var left []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), ref.ID) {
			left = append(left, p)
		}
		return nil
	})
	return left
}

// TestConformanceAsOrdinaryUser runs the suite again as somebody without any rights.
func TestConformanceAsOrdinaryUser(t *testing.T) {
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
	exe := filepath.Join(os.Getenv(programsEnv), "native.test")
	if err := copyFile("/proc/self/exe", exe); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^(TestConformance|TestConformanceWithImage|TestRemoveAll)$", "-test.timeout=5m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = base
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + base, "HOME=" + base, programsEnv + "=" + os.Getenv(programsEnv)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}

// BenchmarkStart measures from Start to a guest that can be dialled.
func BenchmarkStart(b *testing.B) {
	r := newRuntime()
	spec := benchSpec(b)
	for b.Loop() {
		if err := r.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Remove(b.Context(), spec.Ref); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRemove measures the other half.
func BenchmarkRemove(b *testing.B) {
	r := newRuntime()
	spec := benchSpec(b)
	for b.Loop() {
		b.StopTimer()
		if err := r.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := r.Remove(b.Context(), spec.Ref); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBubblewrap is what to compare with: the same namespaces, far fewer mounts, no filter, no guest.
func BenchmarkBubblewrap(b *testing.B) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("bubblewrap is not installed")
	}
	for b.Loop() {
		cmd := exec.Command(bwrap, "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64",
			"/lib64", "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", "/bin/true")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

func benchSpec(b *testing.B) sandbox.Spec {
	b.Helper()
	dir := b.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "workspace"), 0o755); err != nil {
		b.Fatal(err)
	}
	return sandbox.Spec{
		Ref:       sandbox.Ref{ID: fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixNano()), Dir: filepath.Join(dir, "sandbox")},
		Hostname:  "moat",
		Workspace: filepath.Join(dir, "workspace"),
		User:      sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: "agent", Home: "/home/agent"},
		Secret:    make([]byte, 32),
	}
}
