package docker_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
	"moat/internal/sandbox/docker"
	"moat/internal/sandbox/enginetest"
)

// patience bounds every wait. Nothing is expected to take a tenth of it.
const patience = 60 * time.Second

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is an engine of one test, and a sandbox in it whose command waits.
type bench struct {
	*enginetest.Engine
	rt   *docker.Runtime
	spec sandbox.Spec
}

func newBench(t *testing.T, args ...string) *bench {
	t.Helper()
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	dir, err := os.MkdirTemp("", "moat-engine-") //nolint:usetesting // t.TempDir is too long for a socket's address
	must(t, err)
	engine, err := enginetest.Start(dir, args...)
	must(t, err)
	t.Cleanup(func() { must(t, engine.Destroy()) })
	image, err := importImage(engine, "bench")
	must(t, err)
	b := &bench{Engine: engine}
	b.rt = &docker.Runtime{Exe: filepath.Join(os.Getenv(programsEnv), "moat"), Env: func(name string) (string, bool) {
		return engine.Host, name == "DOCKER_HOST"
	}}
	home := t.TempDir()
	b.spec = sandbox.Spec{
		Ref:       sandbox.Ref{ID: "run-0123456789ab", Dir: filepath.Join(home, "sandbox")},
		Hostname:  "bench",
		Image:     sandbox.Image{Ref: "bench", Digest: image},
		Workspace: t.TempDir(),
		User:      sandbox.User{Name: "root", Home: "/root"},
		Secret:    make([]byte, 32),
	}
	must(t, b.rt.Start(ctx(t), b.spec))
	t.Cleanup(func() { _ = b.rt.Remove(ctx(t), b.spec.Ref) }) // most tests have
	must(t, b.speak(t, line.Spawn{Process: line.Main, Args: []string{"/bin/sleep", "1000"}, Env: []string{}}))
	return b
}

// speak opens a line to the guest and, if there is a message, sends it and waits for the answer.
func (b *bench) speak(t *testing.T, msgs ...line.Message) error {
	t.Helper()
	c, cancel := context.WithTimeout(ctx(t), patience)
	defer cancel()
	nc, err := b.rt.Dial(c, b.spec.Ref)
	if err != nil {
		return err
	}
	conn, _, err := line.Open(c, nc, b.spec.Secret)
	if err != nil {
		return err
	}
	defer conn.Close()
	if len(msgs) == 0 {
		return nil
	}
	if err := conn.Send(msgs...); err != nil {
		return err
	}
	_, err = conn.Next()
	return err
}

// want checks what State says.
func (b *bench) want(t *testing.T, when string, want sandbox.State) {
	t.Helper()
	if got, err := b.rt.State(ctx(t), b.spec.Ref); got != want || want != sandbox.Unknown && err != nil {
		t.Errorf("%s: %v, %v, want %v", when, got, err, want)
	}
}

// gone waits until State says so: what the engine was told takes its time.
func (b *bench) gone(t *testing.T, when string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		state, err := b.rt.State(ctx(t), b.spec.Ref)
		if state == sandbox.Gone {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v, %v", when, state, err)
		}
	}
}

func (b *bench) path(verb string) string { return "/containers/moat-" + b.spec.ID + "/" + verb }

// TestPaused freezes a container behind our back: it lives, and goes on as if nothing had been.
func TestPaused(t *testing.T) {
	b := newBench(t)
	must(t, b.Do(http.MethodPost, b.path("pause")))
	b.want(t, "paused", sandbox.Running)
	if err := b.speak(t); err == nil || errors.Is(err, sandbox.ErrGone) {
		t.Errorf("a paused guest: %v, want an error that says nothing about its end", err)
	}
	must(t, b.Do(http.MethodPost, b.path("unpause")))
	must(t, b.speak(t))
	must(t, b.Do(http.MethodPost, b.path("pause")))
	must(t, b.rt.Remove(ctx(t), b.spec.Ref))
	b.want(t, "removed while it was paused", sandbox.Gone)
}

// TestEndedBehindOurBack ends a container in the ways that the docker command has.
func TestEndedBehindOurBack(t *testing.T) {
	for what, do := range map[string]func(*bench) error{
		"killed":  func(b *bench) error { return b.Do(http.MethodPost, b.path("kill")) },
		"stopped": func(b *bench) error { return b.Do(http.MethodPost, b.path("stop?t=60")) },
		"removed": func(b *bench) error { return b.Do(http.MethodDelete, "/containers/moat-"+b.spec.ID+"?force=1") },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			began := time.Now()
			must(t, do(b))
			if took := time.Since(began); took > 50*time.Second {
				t.Errorf("it took %v", took)
			}
			b.gone(t, what)
			if err := b.speak(t); !errors.Is(err, sandbox.ErrGone) {
				t.Errorf("Dial: %v", err)
			}
			must(t, b.rt.Remove(ctx(t), b.spec.Ref))
			if left, err := b.rt.List(ctx(t)); len(left) > 0 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestEngineRestarts takes the engine away and brings it back. Nothing but the kernel is needed to reach the guest
// meanwhile, and what the engine cannot say is never taken for an end.
func TestEngineRestarts(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		end  func(*enginetest.Engine) error
		live bool // the sandbox survives
	}{
		{"killed, live-restore", []string{"--live-restore"}, (*enginetest.Engine).Kill, true},
		{"stopped, live-restore", []string{"--live-restore"}, (*enginetest.Engine).Stop, true},
		{"stopped", nil, (*enginetest.Engine).Stop, false},
		{"killed", nil, (*enginetest.Engine).Kill, false}, // an engine without live-restore ends what it finds when it is back
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, test.args...)
			must(t, test.end(b.Engine))
			if test.live {
				b.want(t, "without an engine", sandbox.Running)
				must(t, b.speak(t))
				if _, err := b.rt.Report(ctx(t), b.spec.Ref); err != nil {
					t.Errorf("Report without an engine: %v", err)
				}
			}
			if err := b.rt.Remove(ctx(t), b.spec.Ref); err == nil {
				t.Error("Remove without an engine says that it is done")
			}
			if _, err := b.rt.List(ctx(t)); err == nil {
				t.Error("List without an engine says that there is nothing")
			}
			must(t, b.Begin())
			if test.live {
				b.want(t, "after the restart", sandbox.Running)
				must(t, b.speak(t))
			} else {
				b.gone(t, "after the restart")
			}
			must(t, b.rt.Remove(ctx(t), b.spec.Ref))
			b.want(t, "removed", sandbox.Gone)
		})
	}
}

// TestEngineDownIsUnknown asks about a sandbox whose socket somebody has removed, with nobody to ask.
func TestEngineDownIsUnknown(t *testing.T) {
	b := newBench(t, "--live-restore")
	must(t, os.Remove(filepath.Join(b.spec.Dir, "guest.sock")))
	if state, err := b.rt.State(ctx(t), b.spec.Ref); state != sandbox.Running || err != nil {
		if state == sandbox.Gone {
			t.Errorf("it runs, and State says %v, %v", state, err)
		}
	}
	must(t, b.Kill())
	b.want(t, "nobody can tell", sandbox.Unknown)
	if err := b.speak(t); err == nil || errors.Is(err, sandbox.ErrGone) {
		t.Errorf("Dial: %v", err)
	}
	must(t, b.Begin())
	must(t, b.rt.Remove(ctx(t), b.spec.Ref))
	b.want(t, "removed", sandbox.Gone)
}

// TestImageGone removes an image that a plan names.
func TestImageGone(t *testing.T) {
	b := newBench(t)
	must(t, b.rt.Remove(ctx(t), b.spec.Ref))
	must(t, b.Do(http.MethodDelete, "/images/bench?force=1"))
	if err := b.rt.Start(ctx(t), b.spec); err == nil {
		t.Error("it was started without its image")
	}
	b.want(t, "not started", sandbox.Gone)
	if left, err := b.rt.List(ctx(t)); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
