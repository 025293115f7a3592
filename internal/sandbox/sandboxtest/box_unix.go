//go:build unix

package sandboxtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
)

// patience bounds every wait of the suite. Nothing is expected to take a tenth of it.
const patience = 60 * time.Second

// ctx returns a context that ends before the test's own limit does.
func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

// BuildProbe builds the program that runs inside, in a folder of its own.
func BuildProbe(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-o", out, "moat/internal/sandbox/sandboxtest/testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, b)
	}
	return out
}

// newSpec describes a sandbox in new folders below the test's: the run's folder, whose parent stands for $MOAT_HOME,
// and a workspace with the probe in it.
func (s *suite) newSpec(t testing.TB) sandbox.Spec {
	t.Helper()
	base := t.TempDir()
	id := make([]byte, 6)
	_, _ = rand.Read(id)
	spec := sandbox.Spec{
		Ref:       sandbox.Ref{ID: "run-" + hex.EncodeToString(id), Dir: filepath.Join(base, "moat-home", "sandbox")},
		Hostname:  "moat-test",
		Workspace: filepath.Join(base, "workspace"),
		User:      s.User,
		Image:     s.Image,
		Secret:    make([]byte, 32),
		Forbidden: []string{filepath.Join(base, "moat-home")},
	}
	_, _ = rand.Read(spec.Secret)
	for _, dir := range []string{filepath.Dir(spec.Dir), spec.Workspace} {
		check(t, os.Mkdir(dir, 0o700))
	}
	b, err := os.ReadFile(s.probe)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(spec.Workspace, "probe"), b, 0o755))
	return spec
}

// box is a started sandbox and a line to its guest.
type box struct {
	suite *suite
	spec  sandbox.Spec
	conn  *line.Conn
	next  uint32
	exits map[uint32]line.Exit
}

// start makes a sandbox whose main command only waits, and removes it after the test.
func (s *suite) start(t testing.TB, spec sandbox.Spec) *box {
	t.Helper()
	s.mustStart(t, spec)
	b := s.dial(t, spec)
	b.spawn(t, line.Spawn{Process: line.Main, Args: []string{"/workspace/probe", "wait"}})
	return b
}

func (s *suite) mustStart(t testing.TB, spec sandbox.Spec) {
	t.Helper()
	if err := s.rt.Start(ctx(t), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.rt.Remove(ctx(t), spec.Ref); err != nil {
			t.Errorf("Remove: %v", err)
		}
	})
}

// dial opens a line to a guest that runs.
func (s *suite) dial(t testing.TB, spec sandbox.Spec) *box {
	t.Helper()
	nc, err := s.rt.Dial(ctx(t), spec.Ref)
	check(t, err)
	conn, welcome, err := line.Open(ctx(t), nc, spec.Secret)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	for _, p := range welcome.Processes {
		check(t, conn.Send(line.Resume{Process: p.Process, Offset: p.First}))
	}
	return &box{suite: s, spec: spec, conn: conn, next: line.Main, exits: map[uint32]line.Exit{}}
}

// spawn starts a process with the usual environment and waits until it runs.
func (b *box) spawn(t testing.TB, m line.Spawn) {
	t.Helper()
	m.Env = append(m.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME="+b.spec.User.Home)
	if m.Dir == "" {
		m.Dir = sandbox.WorkspaceDir
	}
	check(t, b.conn.Send(m))
	for {
		switch got := b.receive(t).(type) {
		case line.Spawned:
			if got.Process == m.Process {
				return
			}
		case line.Failed:
			t.Fatalf("spawn %q: %s", m.Args, got.Error)
		}
	}
}

// receive returns the next message, and notes exits.
func (b *box) receive(t testing.TB) line.Message {
	t.Helper()
	m, err := b.conn.Next()
	check(t, err)
	if x, ok := m.(line.Exit); ok {
		b.exits[x.Process] = x
	}
	return m
}

// run runs a command to its end and returns what it printed, stdout and stderr together, and its exit code.
func (b *box) run(t testing.TB, args ...string) (string, int) {
	t.Helper()
	b.next++
	n := b.next
	var out []byte
	b.spawn(t, line.Spawn{Process: n, Args: args})
	for {
		switch m := b.receive(t).(type) {
		case line.Output:
			if m.Process == n {
				out = append(out, m.Data...)
			}
			check(t, b.conn.Send(line.Ack{Process: m.Process, Offset: m.Offset + uint64(len(m.Data))}))
		case line.Exit:
			if m.Process == n {
				check(t, b.conn.Send(line.Release{Process: n}))
				return string(out), m.Code
			}
		}
	}
}

// probe runs a verb of the probe and decodes what it says.
func probe[T any](t testing.TB, b *box, args ...string) T {
	t.Helper()
	out, code := b.run(t, append([]string{"/workspace/probe"}, args...)...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
		t.Fatalf("probe %q: exit code %d, %v, printed %q", args, code, err, out)
	}
	return v
}

// try runs the probe's verb "try": an operation on paths.
func try(t testing.TB, b *box, args ...string) string {
	t.Helper()
	return probe[string](t, b, append([]string{"try"}, args...)...)
}

// mainExit waits for the end of the main command, on another line if something inside has ended this one.
func (b *box) mainExit(t testing.TB) line.Exit {
	t.Helper()
	for {
		if x, ok := b.exits[line.Main]; ok {
			return x
		}
		m, err := b.conn.Next()
		if err != nil {
			b.conn = b.suite.dial(t, b.spec).conn
			continue
		}
		if x, ok := m.(line.Exit); ok {
			b.exits[x.Process] = x
		}
	}
}

// wantRefused checks that an operation was refused by one of the errors.
func wantRefused(t testing.TB, what, got string, errs ...string) {
	t.Helper()
	for _, e := range errs {
		if got == e {
			return
		}
	}
	t.Errorf("%s: %s, want one of %s", what, got, strings.Join(errs, ", "))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Main is the TestMain of a package that runs the suite. A process that the suite starts to be killed is one of these
// too; newRuntime makes its runtime.
func Main(m *testing.M, newRuntime func() sandbox.Runtime) int {
	if len(os.Args) == 2 && os.Args[1] == starterArg {
		return starter(newRuntime())
	}
	return m.Run()
}

const starterArg = "sandboxtest-start"

// starter reads a Spec from stdin, starts it, spawns its main command if there is more on stdin, and waits to be killed.
func starter(rt sandbox.Runtime) int {
	err := func() error {
		c, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var task struct {
			Spec  sandbox.Spec
			Spawn bool
		}
		if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
			return err
		}
		if err := rt.Start(c, task.Spec); err != nil {
			return err
		}
		if task.Spawn {
			if err := spawnMain(c, rt, task.Spec); err != nil {
				return err
			}
		}
		fmt.Println("started")
		<-c.Done()
		return errors.New("nobody killed me")
	}()
	fmt.Println(err)
	return 1
}

func spawnMain(c context.Context, rt sandbox.Runtime, spec sandbox.Spec) error {
	nc, err := rt.Dial(c, spec.Ref)
	if err != nil {
		return err
	}
	conn, _, err := line.Open(c, nc, spec.Secret)
	if err != nil {
		return err
	}
	err = conn.Send(line.Spawn{Process: line.Main, Args: []string{"/workspace/probe", "wait"}, Env: []string{}, Dir: "/"})
	if err != nil {
		return err
	}
	for {
		m, err := conn.Next()
		if err != nil {
			return err
		}
		if _, ok := m.(line.Spawned); ok {
			return nil
		}
	}
}
