//go:build unix

package sandboxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
)

func (s *suite) testKillEverything(t *testing.T) {
	neighbour := exec.Command("sleep", "60")
	check(t, neighbour.Start())
	b := s.start(t, s.newSpec(t))
	b.next++
	b.spawn(t, line.Spawn{Process: b.next, Args: []string{"/workspace/probe", "killall"}})
	if x := b.mainExit(t); x.Code != 137 {
		t.Errorf("the main command ended with %+v, want killed", x)
	}
	if state, err := s.rt.State(ctx(t), b.spec.Ref); state != sandbox.Running || err != nil {
		t.Errorf("the guest did not survive: %v, %v", state, err)
	}
	check(t, neighbour.Process.Kill()) // fails if it has ended and was waited for; Wait tells the rest
	err := neighbour.Wait()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a process of the host: %v", err)
	}
}

func (s *suite) testProcessLimit(t *testing.T) {
	spec := s.newSpec(t)
	spec.Limits.PIDs = 100
	b := s.start(t, spec)
	report, err := s.rt.Report(ctx(t), spec.Ref)
	check(t, err)
	if report.PIDs == sandbox.NotHeld {
		if len(report.Warnings) == 0 {
			t.Error("the limit is not held, and no warning says so")
		}
		return
	}
	if n := probe[int](t, b, "bomb", "300"); n == 0 || n >= 100 {
		t.Errorf("%d processes were started under a limit of 100", n)
	}
	if out, code := b.run(t, "/workspace/probe", "ids"); code != 0 {
		t.Errorf("after the bomb nothing works: %s", out)
	}
}

func (s *suite) testMemoryLimit(t *testing.T) {
	spec := s.newSpec(t)
	spec.Limits.MemoryBytes = 64 << 20
	b := s.start(t, spec)
	report, err := s.rt.Report(ctx(t), spec.Ref)
	check(t, err)
	out, code := b.run(t, "/workspace/probe", "eat", "268435456")
	if code == 0 && strings.Contains(out, "268435456") {
		t.Errorf("256 MiB were used under a limit of 64 MiB (%+v)", report)
	}
	if out, code := b.run(t, "/workspace/probe", "eat", "8388608"); code != 0 || !strings.Contains(out, "8388608") {
		t.Errorf("8 MiB were not to be had under a limit of 64 MiB: %d, %s", code, out)
	}
	after, err := s.rt.Report(ctx(t), spec.Ref)
	check(t, err)
	if report.OOMKills != 0 || report.Memory == sandbox.Held && after.OOMKills == 0 {
		t.Errorf("kills for want of memory: %d before, %d after", report.OOMKills, after.OOMKills)
	}
	if report.Memory != sandbox.Held && len(report.Warnings) == 0 {
		t.Error("the limit is not held, and no warning says so")
	}
}

// testWalls: what holds the sandbox is told as the kernel has it, while there is a guest.
func (s *suite) testWalls(t *testing.T, b *box) {
	if !s.SharedKernel {
		t.Skip("the guest is on another kernel")
	}
	report, err := s.rt.Report(ctx(t), b.spec.Ref)
	check(t, err)
	for _, want := range []string{"no_new_privs", "seccomp filter"} {
		if !slices.Contains(report.Walls, want) {
			t.Errorf("%q is not among the walls: %q", want, report.Walls)
		}
	}
	if landlock := slices.ContainsFunc(report.Walls, func(w string) bool { return strings.HasPrefix(w, "landlock ") }); landlock != s.Landlock {
		t.Errorf("landlock: told %v, want %v", landlock, s.Landlock)
	}
}

func (s *suite) testCPULimit(t *testing.T) {
	spec := s.newSpec(t)
	spec.Limits.CPUs = 0.2
	b := s.start(t, spec)
	report, err := s.rt.Report(ctx(t), spec.Ref)
	check(t, err)
	used := probe[int](t, b, "burn", "1000")
	switch {
	case report.CPUs == sandbox.Held && used > 400:
		t.Errorf("%d ms of processor time in 1000 ms, under a limit of 0.2", used)
	case report.CPUs != sandbox.Held && len(report.Warnings) == 0:
		t.Error("the limit is not held, and no warning says so")
	}
}

func (s *suite) testRefused(t *testing.T) {
	home := func(spec *sandbox.Spec) string { return spec.Forbidden[0] }
	for name, spoil := range map[string]func(*testing.T, *sandbox.Spec){
		"workspace that is not there": func(t *testing.T, spec *sandbox.Spec) { spec.Workspace += "/not-there" },
		"workspace that is a file":    func(t *testing.T, spec *sandbox.Spec) { spec.Workspace += "/probe" },
		"workspace is moat's":         func(t *testing.T, spec *sandbox.Spec) { spec.Workspace = home(spec) },
		"workspace contains moat's":   func(t *testing.T, spec *sandbox.Spec) { spec.Workspace = filepath.Dir(home(spec)) },
		"workspace is the root":       func(t *testing.T, spec *sandbox.Spec) { spec.Workspace = "/" },
		"workspace in moat's": func(t *testing.T, spec *sandbox.Spec) {
			spec.Workspace = home(spec) + "/in"
			check(t, os.Mkdir(spec.Workspace, 0o700))
		},
		"link to moat's": func(t *testing.T, spec *sandbox.Spec) {
			link := spec.Workspace + "/to-moat"
			check(t, os.Symlink(home(spec), link))
			spec.Workspace = link
		},
		"mount of moat's": func(t *testing.T, spec *sandbox.Spec) {
			spec.Mounts = []sandbox.Mount{{Source: home(spec), Target: "/mnt/x", ReadOnly: true}}
		},
		"mount that is not there": func(t *testing.T, spec *sandbox.Spec) {
			spec.Mounts = []sandbox.Mount{{Source: "/not/there", Target: "/mnt/x"}}
		},
		"mount through a link of the workspace": func(t *testing.T, spec *sandbox.Spec) {
			check(t, os.Symlink("/usr", spec.Workspace+"/away"))
			spec.Mounts = []sandbox.Mount{{Source: t.TempDir(), Target: "/workspace/away/bin"}}
		},
		"mount over the root": func(t *testing.T, spec *sandbox.Spec) {
			spec.Mounts = []sandbox.Mount{{Source: t.TempDir(), Target: "/"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.newSpec(t)
			spoil(t, &spec)
			if err := s.rt.Start(ctx(t), spec); err == nil {
				t.Error("it was started")
				check(t, s.rt.Remove(ctx(t), spec.Ref))
			}
			s.wantGone(t, spec.Ref)
		})
	}
}

func (s *suite) testLife(t *testing.T) {
	spec := s.newSpec(t)
	s.wantGone(t, spec.Ref)
	check(t, s.rt.Remove(ctx(t), spec.Ref))
	b := s.start(t, spec)
	if state, err := s.rt.State(ctx(t), spec.Ref); state != sandbox.Running || err != nil {
		t.Errorf("State of a started sandbox: %v, %v", state, err)
	}
	if err := s.rt.Start(ctx(t), spec); err == nil {
		t.Error("it was started a second time")
	}
	if _, code := b.run(t, "/workspace/probe", "ids"); code != 0 {
		t.Error("the second start disturbed the first")
	}
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if err := s.rt.Remove(ctx(t), spec.Ref); err != nil {
				t.Errorf("one of several at once: %v", err)
			}
		})
	}
	wait.Wait()
	s.wantGone(t, spec.Ref)
	check(t, s.rt.Remove(ctx(t), spec.Ref))
}

// wantGone checks that nothing is left of a sandbox and that all methods agree about that.
func (s *suite) wantGone(t testing.TB, ref sandbox.Ref) {
	t.Helper()
	if state, err := s.rt.State(ctx(t), ref); state != sandbox.Gone || err != nil {
		t.Errorf("State = %v, %v; want gone", state, err)
	}
	if c, err := s.rt.Dial(ctx(t), ref); !errors.Is(err, sandbox.ErrGone) {
		if err == nil {
			_ = c.Close()
		}
		t.Errorf("Dial: %v, want ErrGone", err)
	}
	if _, err := s.rt.Report(ctx(t), ref); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("Report: %v, want ErrGone", err)
	}
	if entries, err := os.ReadDir(ref.Dir); err == nil {
		for _, e := range entries {
			if e.Name() != "home" {
				t.Errorf("%s is left in the sandbox's folder", e.Name())
			}
		}
	}
	if s.Leftovers != nil {
		for _, l := range s.Leftovers(ref) {
			t.Errorf("left: %s", l)
		}
	}
}

// testLeftovers starts on top of what an interrupted start, or an interrupted removal, may leave.
func (s *suite) testLeftovers(t *testing.T) {
	for name, make := range map[string]func(*testing.T, string){
		"empty folder":      func(t *testing.T, dir string) {},
		"a socket's corpse": func(t *testing.T, dir string) { check(t, os.WriteFile(dir+"/guest.sock", nil, 0o600)) },
		"torn record":       func(t *testing.T, dir string) { check(t, os.WriteFile(dir+"/guest.json", []byte(`{"proc`), 0o600)) },
		"closed trees": func(t *testing.T, dir string) {
			check(t, os.MkdirAll(dir+"/tmp/a/b", 0o700))
			check(t, os.Symlink("/etc", dir+"/tmp/a/link"))
			check(t, os.Chmod(dir+"/tmp/a/b", 0))
			check(t, os.Chmod(dir+"/tmp/a", 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.newSpec(t)
			check(t, os.Mkdir(spec.Dir, 0o700))
			make(t, spec.Dir)
			b := s.start(t, spec)
			if _, code := b.run(t, "/workspace/probe", "ids"); code != 0 {
				t.Error("nothing runs in it")
			}
			check(t, s.rt.Remove(ctx(t), spec.Ref))
			s.wantGone(t, spec.Ref)
		})
	}
}

func (s *suite) testHomeKept(t *testing.T) {
	spec := s.newSpec(t)
	b := s.start(t, spec)
	if got := try(t, b, "write", spec.User.Home+"/kept"); got != "ok" {
		t.Fatal(got)
	}
	check(t, s.rt.Remove(ctx(t), spec.Ref))
	s.wantGone(t, spec.Ref)
	b = s.start(t, spec)
	if got := try(t, b, "read", spec.User.Home+"/kept"); got != "ok 1" {
		t.Errorf("in the next sandbox of the same run: %s", got)
	}
}

func (s *suite) testCancelled(t *testing.T) {
	spec := s.newSpec(t)
	c, cancel := context.WithCancel(ctx(t))
	cancel()
	if err := s.rt.Start(c, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v, want the context's error", err)
		check(t, s.rt.Remove(ctx(t), spec.Ref))
	}
	s.wantGone(t, spec.Ref)
}

// startElsewhere starts a sandbox in a process of its own and kills that.
func (s *suite) startElsewhere(t *testing.T, spec sandbox.Spec, spawn bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", starterArg)
	in, err := json.Marshal(map[string]any{"Spec": spec, "Spawn": spawn})
	check(t, err)
	cmd.Stdin = strings.NewReader(string(in))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	said, _ := bufio.NewReader(out).ReadString('\n')
	if said != "started\n" {
		t.Errorf("the other process said %q", said)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

func (s *suite) testOwnerDiesEarly(t *testing.T) {
	spec := s.newSpec(t)
	s.startElsewhere(t, spec, false)
	// The guest notices by itself; a connection that ends tells when.
	if nc, err := s.rt.Dial(ctx(t), spec.Ref); err == nil {
		if conn, _, err := line.Open(ctx(t), nc, spec.Secret); err == nil {
			for err == nil {
				_, err = conn.Next()
			}
		}
	}
	check(t, s.rt.Remove(ctx(t), spec.Ref))
	s.wantGone(t, spec.Ref)
}

func (s *suite) testOwnerDiesLater(t *testing.T) {
	spec := s.newSpec(t)
	s.startElsewhere(t, spec, true)
	if state, err := s.rt.State(ctx(t), spec.Ref); state != sandbox.Running || err != nil {
		t.Fatalf("State for a successor: %v, %v", state, err)
	}
	b := s.dial(t, spec)
	if _, code := b.run(t, "/workspace/probe", "ids"); code != 0 {
		t.Error("nothing runs for a successor")
	}
	if _, err := s.rt.Report(ctx(t), spec.Ref); err != nil {
		t.Errorf("Report for a successor: %v", err)
	}
	check(t, s.rt.Remove(ctx(t), spec.Ref))
	s.wantGone(t, spec.Ref)
}

// testKilledAnywhere kills the process that starts a sandbox after more and more time, from before it began until after
// it was done, and expects one Remove to find everything.
func (s *suite) testKilledAnywhere(t *testing.T) {
	for i := range s.Kills {
		spec := s.newSpec(t)
		in, err := json.Marshal(map[string]any{"Spec": spec})
		check(t, err)
		cmd := exec.Command("/proc/self/exe", starterArg)
		cmd.Stdin = strings.NewReader(string(in))
		check(t, cmd.Start())
		<-time.After(s.StartTime * time.Duration(i) / time.Duration(s.Kills)) // not to wait for something: to be at any point of it
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
		check(t, s.rt.Remove(ctx(t), spec.Ref))
		s.wantGone(t, spec.Ref)
	}
}

// testDifficultFolders runs a sandbox whose folders have names that are hard to pass on: too long for a socket's
// address, and with the characters that separate mount options.
func (s *suite) testDifficultFolders(t *testing.T) {
	spec := s.newSpec(t)
	base := filepath.Dir(filepath.Dir(spec.Dir)) + "/" + strings.Repeat("l", 150) + ` :\'$(x)%s`
	mounted := "/mnt/a:  b"
	if !s.PlainPaths {
		base += ",\"\n"
		mounted = "/mnt/a,b: c"
	} else {
		odd := spec
		odd.Mounts = []sandbox.Mount{{Source: spec.Workspace, Target: "/mnt/a:,b"}}
		if err := s.rt.Start(ctx(t), odd); !errors.Is(err, sandbox.ErrSpec) {
			t.Errorf("a mount at %s: %v", odd.Mounts[0].Target, err)
		}
	}
	for _, dir := range []string{base, base + "/moat-home"} {
		check(t, os.Mkdir(dir, 0o700))
	}
	workspace := base + "/work space:"
	check(t, os.Rename(spec.Workspace, workspace))
	spec.Workspace, spec.Dir = workspace, base+"/moat-home/sandbox"
	spec.Mounts = []sandbox.Mount{{Source: workspace, Target: mounted}}
	b := s.start(t, spec)
	for _, path := range []string{"/workspace/x", mounted + "/y", spec.User.Home + "/z"} {
		if got := try(t, b, "write", path); got != "ok" {
			t.Errorf("write %s: %s", path, got)
		}
	}
	if _, err := os.Stat(workspace + "/y"); err != nil {
		t.Error(err)
	}
	check(t, s.rt.Remove(ctx(t), spec.Ref))
	s.wantGone(t, spec.Ref)
}

func (s *suite) testMany(t *testing.T) {
	specs := make([]sandbox.Spec, s.Many)
	for i := range specs {
		specs[i] = s.newSpec(t)
	}
	var wait sync.WaitGroup
	for _, spec := range specs {
		wait.Go(func() {
			if err := s.rt.Start(ctx(t), spec); err != nil {
				t.Errorf("Start: %v", err)
			}
		})
	}
	wait.Wait()
	for _, spec := range specs {
		if state, err := s.rt.State(ctx(t), spec.Ref); state != sandbox.Running || err != nil {
			t.Errorf("State: %v, %v", state, err)
		}
	}
	for _, spec := range specs {
		wait.Go(func() {
			if err := s.rt.Remove(ctx(t), spec.Ref); err != nil {
				t.Errorf("Remove: %v", err)
			}
		})
	}
	wait.Wait()
	for _, spec := range specs {
		s.wantGone(t, spec.Ref)
	}
}

// openDescriptors counts the descriptors of this process.
func (s *suite) openDescriptors(t *testing.T) int {
	t.Helper()
	if !s.SharedKernel {
		return 0
	}
	fds, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(fds)
}

// testNothingLeft compares what this process and the host hold with what they held before the first sandbox.
func (s *suite) testNothingLeft(t *testing.T, descriptors int) {
	if !s.SharedKernel {
		t.Skip("the sandboxes have another kernel")
	}
	if now := s.openDescriptors(t); now > descriptors+2 { // Go's own poller
		t.Errorf("%d descriptors are open, %d were", now, descriptors)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	for l := range strings.Lines(string(mounts)) {
		if strings.Contains(l, "moat-home") {
			t.Errorf("mounted on the host: %s", l)
		}
	}
	for _, pid := range s.children(t) {
		if !slices.Contains(s.childrenBefore, pid) {
			t.Errorf("a child is left: %s", pid)
		}
	}
}

// children returns the processes that this one has.
func (s *suite) children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	check(t, err)
	var pids []string
	for _, list := range lists {
		if b, err := os.ReadFile(list); err == nil { // a thread may have ended
			pids = append(pids, strings.Fields(string(b))...)
		}
	}
	return pids
}
