package soak

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nothingLeft checks that a run that has ended has left nothing but its record and its output.
func (w *world) nothingLeft(id string) {
	w.t.Helper()
	var left []string
	gone := w.within(tidyUp, func() bool {
		left = w.leftovers(id)
		return len(left) == 0
	})
	if !gone {
		w.logs()
		w.t.Errorf("%s has left behind, %v after its end:\n%s", id, tidyUp, strings.Join(left, "\n"))
	}
}

// leftovers are what a run should not have any more.
func (w *world) leftovers(id string) []string {
	var left []string
	for _, p := range w.procs() {
		if p.role == roleGuard || p.run == id || p.role == roleInside {
			left = append(left, "process: "+p.String())
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		left = append(left, "mounts: "+err.Error())
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, id) || strings.Contains(line, w.home) && !strings.Contains(line, " "+w.home+" ") {
			left = append(left, "mount: "+line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/moat-" + id, "/sys/fs/cgroup/*/moat-" + id, "/sys/fs/cgroup/*/*/moat-" + id} {
		found, _ := filepath.Glob(pattern)
		left = append(left, found...)
	}
	dir := filepath.Join(w.home, "runs", id)
	for _, name := range []string{"sock", "guest.key", ".*", "*.new", "*.tmp*", "sandbox/[^h]*"} {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		left = append(left, found...)
	}
	names, _ := filepath.Glob(filepath.Join(w.home, "names", "[^.]*"))
	for _, name := range names {
		if holder, _ := os.Readlink(name); holder == id {
			left = append(left, fmt.Sprintf("name: %s -> %s", name, holder))
		}
	}
	return left
}

// record is a run's output as moat logs gives it, one stream.
func (w *world) record(id, stream string) []byte {
	w.t.Helper()
	return w.command("logs", "--stream", stream, id).want(0).out.Bytes()
}
