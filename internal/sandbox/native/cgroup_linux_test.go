package native

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
	"moat/internal/sandbox/cgroup"
)

// writeTree makes files and the directories that they need.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

func TestParentGroup(t *testing.T) {
	fs := t.TempDir()
	writeTree(t, fs, map[string]string{
		"v2/cgroup.subtree_control":                      "cpu memory pids\n",
		"v2/cgroup.procs":                                "",
		"v2/user/cgroup.subtree_control":                 "memory pids\n",
		"v2/user/cgroup.procs":                           "",
		"v2/user/app/cgroup.subtree_control":             "pids\n",
		"v2/user/app/cgroup.procs":                       "",
		"v2/user/app/shell.scope/cgroup.subtree_control": "",
		"v2/user/app/shell.scope/cgroup.procs":           "1\n",
		"v1/memory/docker/abc/cgroup.procs":              "1\n",
		"self":                                           "5:memory:/docker/abc\n4:cpu,cpuacct:/none\n0::/user/app/shell.scope\n",
		"mountinfo": "30 25 0:26 / " + fs + "/v2 rw - cgroup2 cgroup2 rw\n" +
			"31 25 0:27 /docker/abc " + fs + "/v1/memory/docker/abc rw shared:5 - cgroup cgroup rw,memory\n" +
			"broken line\n",
	})
	own, err := cgroup.Of(fs + "/self")
	must(t, err)
	wantOwn := map[string]string{"": "/user/app/shell.scope", "memory": "/docker/abc", "cpu": "/none", "cpuacct": "/none"}
	if d := cmp.Diff(wantOwn, own); d != "" {
		t.Errorf("own groups (-want +got):\n%s", d)
	}
	mounts, err := cgroup.Mounts(fs + "/mountinfo")
	must(t, err)
	for controller, want := range map[string]string{
		"memory":  fs + "/v1/memory/docker/abc", // seen from inside a container
		"pids":    fs + "/v2/user/app",          // nearest that gives it to children
		"hugetlb": "",                           // nobody does
		"cpu":     "",                           // not mounted
	} {
		got, err := parentGroup(own, mounts, controller)
		if got != want && err == nil || want != "" && err != nil {
			t.Errorf("%s: %q, %v, want %q", controller, got, err, want)
		}
	}
	delete(own, "memory")
	if got, err := parentGroup(own, mounts, "memory"); got != fs+"/v2/user" || err != nil {
		t.Errorf("memory on the unified hierarchy: %q, %v", got, err)
	}
}

func TestLimitGroup(t *testing.T) {
	limits := sandbox.Limits{MemoryBytes: 1 << 30, CPUs: 1.5, PIDs: 64}
	for name, want := range map[string]map[string]string{
		"v1": {"memory.limit_in_bytes": "1073741824", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000", "pids.max": "64"},
		"v2": {"memory.max": "1073741824", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "64", "cgroup.controllers": ""},
	} {
		dir := t.TempDir()
		for file := range want {
			must(t, os.WriteFile(filepath.Join(dir, file), nil, 0o644))
		}
		got := map[string]string{}
		for _, controller := range []string{"memory", "cpu", "pids"} {
			if err := limitGroup(dir, controller, limits); err != nil {
				t.Errorf("%s, %s: %v", name, controller, err)
			}
		}
		for file := range want {
			b, err := os.ReadFile(filepath.Join(dir, file))
			must(t, err)
			got[file] = string(b)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if err := limitGroup(t.TempDir(), "pids", limits); err == nil {
		t.Error("a folder that is no cgroup took a limit")
	}
}

func TestFallBack(t *testing.T) {
	all := sandbox.Limits{MemoryBytes: 1 << 30, CPUs: 1.5, PIDs: 64}
	for name, c := range map[string]struct {
		limits     sandbox.Limits
		held       sandbox.Report
		kernelRoot bool
		want       fallback
		report     sandbox.Report // without the texts
		warnings   int
	}{
		"all by cgroups": {all, sandbox.Report{Memory: sandbox.Held, CPUs: sandbox.Held, PIDs: sandbox.Held}, true,
			fallback{}, sandbox.Report{Memory: sandbox.Held, CPUs: sandbox.Held, PIDs: sandbox.Held}, 0},
		"no cgroups": {all, sandbox.Report{}, false, fallback{MemoryBytes: 1 << 30, CPUs: 2, PIDs: 64},
			sandbox.Report{Memory: sandbox.HeldPartly, CPUs: sandbox.HeldPartly, PIDs: sandbox.Held}, 2},
		"no cgroups, root": {all, sandbox.Report{}, true, fallback{MemoryBytes: 1 << 30, CPUs: 2, PIDs: 64},
			sandbox.Report{Memory: sandbox.HeldPartly, CPUs: sandbox.HeldPartly}, 3},
		"nothing asked for": {sandbox.Limits{PIDs: 64}, sandbox.Report{}, false, fallback{PIDs: 64}, sandbox.Report{PIDs: sandbox.Held}, 0},
	} {
		got := fallBack(c.limits, &c.held, c.kernelRoot)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if len(c.held.Warnings) != c.warnings {
			t.Errorf("%s: warnings %q", name, c.held.Warnings)
		}
		c.held.Warnings = nil
		if d := cmp.Diff(c.report, c.held); d != "" {
			t.Errorf("%s, report (-want +got):\n%s", name, d)
		}
	}
}

// TestBornIntoGroups starts processes in real cgroups, of both versions where the machine has them, and looks where
// they are at their first instruction. That the groups can be removed afterwards shows that nothing of ours is left in them.
func TestBornIntoGroups(t *testing.T) {
	own, err := cgroup.Of("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := cgroup.Mounts("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, controller := range []string{"pids", ""} {
		m, ok := mounts[controller]
		if !ok {
			continue
		}
		dir := filepath.Join(m.Folder(own[controller]), "moat-born")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Logf("no cgroup can be made: %v", err)
			continue
		}
		tried++
		g := groups{"pids": dir}
		cmd := exec.Command("cat", "/proc/self/cgroup")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		members, err := g.bear(func(into *os.File) error {
			if into != nil {
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(into.Fd())}
			}
			return cmd.Start()
		})
		if err != nil || members["pids"] != dir {
			t.Errorf("%q: members %v, %v", controller, members, err)
		}
		said, err := io.ReadAll(out)
		if err := errors.Join(err, cmd.Wait()); err != nil || !strings.Contains(string(said), "/moat-born\n") {
			t.Errorf("%q: %v, born into\n%s", controller, err, said)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		if err := g.remove(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if tried == 0 {
		t.Skip("no cgroup can be made here")
	}
}
