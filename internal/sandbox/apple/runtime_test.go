//go:build unix

package apple_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
	"moat/internal/sandbox/apple"
	"moat/internal/sandbox/box"
)

// TestStart follows a sandbox from its start to its end.
func TestStart(t *testing.T) {
	s := newStand(t)
	r, spec := s.runtime(), s.spec()
	if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Gone || err != nil || s.calls() != nil {
		t.Errorf("before it is made: %v, %v, and nobody was to be asked", state, err)
	}
	if err := r.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, c := range s.calls() {
		verbs = append(verbs, c[0])
		if line := strings.Join(c, " "); strings.Contains(line, string(spec.Secret)) || strings.Contains(line, "MDEyMzQ1") {
			t.Errorf("the secret is on a command line: %s", line)
		}
	}
	if d := cmp.Diff([]string{"create", "list", "start", "exec"}, verbs); d != "" {
		t.Errorf("what the command was asked for (-want +got):\n%s", d)
	}
	var boot box.Boot
	if b, err := os.ReadFile(s.path("boot")); err != nil || json.Unmarshal(b, &boot) != nil {
		t.Fatalf("what the guest was told: %s, %v", b, err)
	}
	want := box.Boot{Secret: spec.Secret, ID: spec.ID, User: spec.User, Network: true, Filter: true, Hostname: "h", Dir: "/srv", PIDs: sandbox.DefaultPIDs}
	if d := cmp.Diff(want, boot); d != "" {
		t.Errorf("what the guest was told (-want +got):\n%s", d)
	}
	if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Running || err != nil {
		t.Errorf("while it runs: %v, %v", state, err)
	}
	if err := r.Start(t.Context(), spec); err == nil {
		t.Error("it was started a second time")
	}
	if err := os.WriteFile(filepath.Join(spec.Dir, "home", "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	successor := s.runtime()
	if err := successor.Remove(t.Context(), spec.Ref); err != nil {
		t.Fatal(err)
	}
	if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Gone || err != nil {
		t.Errorf("afterwards: %v, %v", state, err)
	}
	if left := names(t, spec.Dir); !slices.Equal(left, []string{"home"}) {
		t.Errorf("left: %q", left)
	}
	if err := r.Remove(t.Context(), spec.Ref); err != nil { // closes what r has
		t.Error(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestStartFails lets each step fail, and expects the reason and nothing else to be left.
func TestStartFails(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*stand, *sandbox.Spec)
		says  []string
	}{
		"create":         {func(s *stand, _ *sandbox.Spec) { s.write("fail-create", `internalError: "disk full"`) }, []string{"debian:12", "disk full"}},
		"look":           {func(s *stand, _ *sandbox.Spec) { s.write("say-list", `[{"status": "running"}]`) }, []string{"form that moat does not know"}},
		"start":          {func(s *stand, _ *sandbox.Spec) { s.write("fail-start", "no kernel") }, []string{"start the container", "no kernel"}},
		"exec":           {func(s *stand, _ *sandbox.Spec) { s.write("fail-exec", "no process") }, []string{"before it was ready", "no process"}},
		"guest dies":     {func(s *stand, _ *sandbox.Spec) { s.remove("guest"); s.write("log", "panic: x") }, []string{"exit code 3", "panic: x"}},
		"guest refuses":  {func(s *stand, _ *sandbox.Spec) { s.write("guest", "user: who?\n") }, []string{"user: who?"}},
		"old kernel":     {func(s *stand, _ *sandbox.Spec) { s.write("guest", "open the door: x\n") }, []string{"open the door", "container system kernel set --recommended --force"}},
		"guest raves":    {func(s *stand, _ *sandbox.Spec) { s.write("guest", strings.Repeat("x", 5000)+"\n") }, []string{strings.Repeat("x", 4000)}},
		"system stopped": {func(s *stand, _ *sandbox.Spec) { s.write("stopped", "") }, []string{"not started"}},
		"image gone":     {func(s *stand, spec *sandbox.Spec) { spec.Image.Ref = "none:1" }, []string{"none:1", "notFound"}},
		"image changed":  {func(s *stand, spec *sandbox.Spec) { spec.Image.Digest = "sha256:22" }, []string{"another one now", "sha256:22"}},
		"no image":       {func(s *stand, spec *sandbox.Spec) { spec.Image.Digest = "" }, []string{"needs an image"}},
		"tools":          {func(s *stand, spec *sandbox.Spec) { spec.Tools = []sandbox.Tool{{Path: "/opt/x"}} }, []string{"no tools"}},
		"workspace gone": {func(s *stand, spec *sandbox.Spec) { spec.Workspace += "/not-there" }, []string{"not-there"}},
		"path of two kinds": {func(s *stand, spec *sandbox.Spec) {
			spec.Mounts = []sandbox.Mount{{Source: spec.Workspace, Target: "/mnt/a:b,c"}}
		}, []string{"colon", "/mnt/a:b,c"}},
		"no command":          {func(s *stand, _ *sandbox.Spec) { s.remove("container") }, []string{"not installed"}},
		"roots cannot be had": {func(s *stand, spec *sandbox.Spec) { spec.TrustFile = "/not/there" }, []string{"roots to trust"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			r, spec := s.runtime(), s.spec()
			test.spoil(s, &spec)
			err := r.Start(t.Context(), spec)
			if err == nil {
				t.Fatal("it was started")
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
			_ = os.Remove(s.path("stopped"))
			_ = os.Remove(s.path("say-list"))
			if err := r.Remove(t.Context(), spec.Ref); err != nil && name != "no command" {
				t.Error(err)
			}
			if left := names(t, s.path("containers")); len(left) > 0 {
				t.Errorf("containers are left: %q", left)
			}
			if left := names(t, spec.Dir); len(left) > 0 {
				t.Errorf("left in the sandbox's folder: %q", left)
			}
		})
	}
}

// TestWarned keeps what a guest says is weaker than it should be.
func TestWarned(t *testing.T) {
	s := newStand(t)
	s.write("guest", "ok there is no filter\n")
	r := s.runtime()
	spec := s.started(r)
	report, err := s.runtime().Report(t.Context(), spec.Ref)
	if want := []string{"there is no filter"}; !slices.Equal(report.Warnings, want) || err != nil {
		t.Errorf("%q, %v, want %q", report.Warnings, err, want)
	}
}

// TestUnknownIsNotGone asks about a sandbox that runs while the command cannot answer.
func TestUnknownIsNotGone(t *testing.T) {
	s := newStand(t)
	r := s.runtime()
	spec := s.started(r)
	for name, test := range map[string]struct {
		file, text string
		says       string
	}{
		"system stopped": {"stopped", "", "not started"},
		"it fails":       {"fail-list", "XPC timeout\nXPC timeout\n", "XPC timeout"},
		"it raves":       {"say-list", "Warning! []", "form that moat does not know"},
		"null":           {"say-list", "null", "null"},
		"nothing":        {"say-list", "", "form that moat does not know"},
		"it is stopping": {"say-list", listing(spec, "stopping"), "stopping"},
		"a new word":     {"say-list", listing(spec, "hibernating"), "hibernating"},
	} {
		t.Run(name, func(t *testing.T) {
			s.write(test.file, test.text)
			defer os.Remove(s.path(test.file))
			state, err := r.State(t.Context(), spec.Ref)
			if state != sandbox.Unknown || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, %v; want unknown, and %q", state, err, test.says)
			}
			s.write("fail-exec", "no\nno\n")
			defer os.Remove(s.path("fail-exec"))
			if _, err := s.runtime().Dial(t.Context(), spec.Ref); err == nil || errors.Is(err, sandbox.ErrGone) {
				t.Errorf("Dial: %v, want an error that is not that it is gone", err)
			}
		})
	}
	t.Run("it hangs", func(t *testing.T) {
		s.write("hang-list", "")
		defer s.remove("hang-list")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if state, err := r.State(ctx, spec.Ref); state != sandbox.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", state, err)
		}
	})
	if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Running || err != nil {
		t.Errorf("afterwards: %v, %v", state, err)
	}
}

// listing is a list with the sandbox's container in it.
func listing(spec sandbox.Spec, state string) string {
	dir := base64.RawURLEncoding.EncodeToString([]byte(spec.Dir))
	return fmt.Sprintf(`[{"configuration": {"id": "x", "labels": {"moat.run": %q, "moat.dir": %q}}, "status": {"state": %q}}]`, spec.ID, dir, state)
}

// TestTornRecord finds a sandbox whose record a crash of the machine has torn.
func TestTornRecord(t *testing.T) {
	s := newStand(t)
	r := s.runtime()
	spec := s.started(r)
	if err := os.WriteFile(filepath.Join(spec.Dir, "guest.json"), []byte(`{"comm`), 0o600); err != nil {
		t.Fatal(err)
	}
	successor := s.runtime()
	if state, err := successor.State(t.Context(), spec.Ref); state != sandbox.Running || err != nil {
		t.Errorf("%v, %v", state, err)
	}
	s.calls()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := successor.Dial(ctx, spec.Ref); err == nil { // the stand-in's guest waits for a task
		t.Error("it was dialled")
	}
	if calls := s.calls(); len(calls) < 2 || !slices.Contains(calls[1], "h.moat-"+spec.ID) {
		t.Errorf("%q", calls)
	}
	if err := successor.Remove(t.Context(), spec.Ref); err != nil {
		t.Fatal(err)
	}
	if left := append(names(t, s.path("containers")), names(t, spec.Dir)...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestEndedBehindOurBack kills and removes containers with Apple's command.
func TestEndedBehindOurBack(t *testing.T) {
	for name, act := range map[string][]string{"killed": {"kill", "h.moat-run-0123456789ab"}, "removed": {"delete", "--force", "h.moat-run-0123456789ab"}} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			r := s.runtime()
			spec := s.started(r)
			if out, err := exec.Command(s.path("container"), act...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Gone || err != nil {
				t.Errorf("State: %v, %v", state, err)
			}
			if _, err := s.runtime().Dial(t.Context(), spec.Ref); !errors.Is(err, sandbox.ErrGone) {
				t.Errorf("Dial: %v", err)
			}
			if err := r.Remove(t.Context(), spec.Ref); err != nil {
				t.Error(err)
			}
			if left := names(t, spec.Dir); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestDial wants the connection of the start for who dials first, and one of its own for everybody else.
func TestDial(t *testing.T) {
	s := newStand(t)
	r := s.runtime()
	spec := s.started(r)
	conn, err := r.Dial(t.Context(), spec.Ref) // the stand-in repeats the byte that makes it a line
	if err != nil {
		t.Fatal(err)
	}
	if calls := s.calls(); calls != nil {
		t.Errorf("a connection was there, and was asked for: %q", calls)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	s.write("hang-exec", "")
	defer s.remove("hang-exec")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := r.Dial(ctx, spec.Ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest that does not answer: %v", err)
	}
	want := []string{"exec", "--interactive", "--uid", "0", "--gid", "0", "h.moat-" + spec.ID, "/.moat/moat", "guest", "relay"}
	if calls := s.calls(); len(calls) == 0 || !slices.Equal(calls[0], want) {
		t.Errorf("%q, want %q", calls, want)
	}
}

// TestRemoveGoesOn removes a container whose removal fails at first, as it does while a machine ends.
func TestRemoveGoesOn(t *testing.T) {
	s := newStand(t)
	r := s.runtime()
	spec := s.started(r)
	s.write("fail-delete", "internalError: \"exec x does not exist\"\ninternalError: \"busy\"\n")
	if err := r.Remove(t.Context(), spec.Ref); err != nil {
		t.Fatal(err)
	}
	if left := append(names(t, s.path("containers")), names(t, spec.Dir)...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	spec = s.started(r)
	s.write("fail-delete", strings.Repeat("never\n", 100))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Remove(ctx, spec.Ref); err == nil || !strings.Contains(err.Error(), "never") && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a removal that never succeeds: %v", err)
	}
	if left := names(t, spec.Dir); !slices.Contains(left, "guest.json") {
		t.Errorf("what is needed for another attempt is gone: %q", left)
	}
	s.remove("fail-delete")
}

// TestKilledWhileCreating removes a sandbox whose maker has died, and whose command still works on it.
func TestKilledWhileCreating(t *testing.T) {
	s := newStand(t)
	r, spec := s.runtime(), s.spec()
	s.write("hang-create", "")
	starter := exec.Command("/proc/self/exe")
	if _, err := os.Stat(starter.Path); err != nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		starter = exec.Command(self)
	}
	task, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	starter.Env = append(os.Environ(), standEnv+"="+s.dir)
	starter.Stdin = strings.NewReader(string(task))
	starter.Stderr = os.Stderr
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	for s.calls() == nil { // it has asked for the container
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	_ = starter.Process.Kill()
	_ = starter.Wait()
	if state, err := r.State(t.Context(), spec.Ref); state != sandbox.Gone || err != nil {
		t.Errorf("State: %v, %v", state, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.Remove(short, spec.Ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Remove does not wait for what was asked for: %v", err)
	}
	s.remove("hang-create")
	if err := r.Remove(t.Context(), spec.Ref); err != nil {
		t.Fatal(err)
	}
	if left := append(names(t, s.path("containers")), names(t, spec.Dir)...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestList finds what is ours among what is not.
func TestList(t *testing.T) {
	s := newStand(t)
	r := s.runtime()
	spec := s.started(r)
	out, err := exec.Command(s.path("container"), "create", "--name", "other", testImage).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, version := range []string{"1.2.0", "0.12.1"} {
		s.write("version", version)
		s.calls()
		got, err := r.List(t.Context())
		want := []apple.Container{{Ref: spec.Ref, Name: "h.moat-" + spec.ID, State: "running", Life: sandbox.Running}}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", version, err, d)
		}
		if n := len(s.calls()); n != 1 {
			t.Errorf("%d questions", n)
		}
	}
	if err := r.RemoveContainer(t.Context(), "h.moat-"+spec.ID); err != nil {
		t.Error(err)
	}
	if err := r.RemoveContainer(t.Context(), "h.moat-"+spec.ID); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
	if got, err := r.List(t.Context()); len(got) > 0 || err != nil {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	if left := names(t, s.path("containers")); !slices.Equal(left, []string{"other.json"}) {
		t.Errorf("left: %q", left)
	}
	s.write("stopped", "")
	if got, err := r.List(t.Context()); got != nil || err != nil {
		t.Errorf("while the system is stopped: %+v, %v", got, err)
	}
	s.remove("stopped")
	s.write("say-list", "no JSON")
	if _, err := r.List(t.Context()); err == nil {
		t.Error("an answer that nobody understands")
	}
	s.remove("container")
	if got, err := r.List(t.Context()); got != nil || err != nil {
		t.Errorf("without the command: %+v, %v", got, err)
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		spoil       func(*stand, *apple.Runtime)
		reason, fix string
	}{
		"it works":        {func(*stand, *apple.Runtime) {}, "", ""},
		"not installed":   {func(s *stand, _ *apple.Runtime) { s.remove("container") }, "not installed", "brew install container"},
		"old":             {func(s *stand, _ *apple.Runtime) { s.write("version", "0.12.3") }, "container 0.12.3 is too old", "brew upgrade"},
		"no version":      {func(s *stand, _ *apple.Runtime) { s.write("version", "next") }, "does not know", "newer moat"},
		"not started":     {func(s *stand, _ *apple.Runtime) { s.write("stopped", "") }, "not started", "container system start"},
		"without a guest": {func(_ *stand, r *apple.Runtime) { r.Exe, r.Arch = "", "riscv64" }, "moat-guest-linux-riscv64", "GOARCH=riscv64"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			r := s.runtime()
			test.spoil(s, r)
			err := r.Check(t.Context())
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var u *sandbox.Unavailable
			if !errors.As(err, &u) || !strings.Contains(u.Reason, test.reason) || !strings.Contains(u.Fix, test.fix) || u.Instead != "docker" {
				t.Errorf("%+v", err)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	want := box.Image{ID: testDigest, Env: []string{"A=b"}, Entrypoint: []string{"/init"}, Cmd: []string{"sh"}, WorkDir: "/srv", User: "node"}
	newer := want
	newer.ID = "sha256:2222"
	for name, test := range map[string]struct {
		wanted box.Wanted
		spoil  func(*stand)
		want   box.Image
		says   string
	}{
		"there":        {box.Wanted{Ref: testImage}, func(*stand) {}, want, ""},
		"anew":         {box.Wanted{Ref: testImage, Anew: true}, func(s *stand) { s.write("registry/debian:12", imageJSON("arm64", "sha256:2222")) }, newer, ""},
		"pulled":       {box.Wanted{Ref: "b/c:1"}, func(s *stand) { s.write("registry/b%2Fc:1", imageJSON("arm64", testDigest)) }, want, ""},
		"nowhere":      {box.Wanted{Ref: "b/c:1"}, func(*stand) {}, box.Image{}, "404"},
		"for others":   {box.Wanted{Ref: "b:1"}, func(s *stand) { s.write("images/b:1", imageJSON("amd64", testDigest)) }, box.Image{}, "none for linux/arm64"},
		"an option":    {box.Wanted{Ref: "--all"}, func(*stand) {}, box.Image{}, "would be an option"},
		"not started":  {box.Wanted{Ref: testImage}, func(s *stand) { s.write("stopped", "") }, box.Image{}, "not started"},
		"no command":   {box.Wanted{Ref: testImage}, func(s *stand) { s.remove("container") }, box.Image{}, "not installed"},
		"other format": {box.Wanted{Ref: testImage}, func(s *stand) { s.write("say-image-inspect", "[]") }, box.Image{}, "does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			test.spoil(s)
			got, err := s.runtime().Fetch(t.Context(), test.wanted)
			if d := cmp.Diff(test.want, got); d != "" || (err != nil) != (test.says != "") {
				t.Fatalf("%v (-want +got):\n%s", err, d)
			}
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v does not say %q", err, test.says)
			}
		})
	}
}

// TestEnvironment looks at what the command is told: nothing that is not its business.
func TestEnvironment(t *testing.T) {
	s := newStand(t)
	if err := s.runtime().Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.path("environ"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), "HOME=/home/me\nPATH=bin:"+s.dir; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
