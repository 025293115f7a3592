// Package cgroup reads which control groups a process is in and what they have counted, for version 1, version 2 and both at
// once (cgroups(7)).
//
// It promises to need no rights: everything that it reads, every user may read. Making groups and putting processes into
// them is left to the runtimes.
package cgroup

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Mount is where a hierarchy of control groups is mounted.
type Mount struct {
	Point string
	Root  string // the group that is visible at Point
}

// Folder returns the folder of a group, or the nearest one that is visible.
func (m Mount) Folder(group string) string {
	rel, err := filepath.Rel(m.Root, group)
	if err != nil || strings.HasPrefix(rel, "..") {
		return m.Point
	}
	return filepath.Join(m.Point, rel)
}

// Of reads a proc_pid_cgroup(5) file: the group per controller of version 1; that in the unified hierarchy has the key "".
func Of(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") { // once, with "", for the unified one
			out[c] = parts[2]
		}
	}
	return out, nil
}

// Mounts reads a proc_pid_mountinfo(5) file: the mount per controller of version 1; the unified one has the key "".
func Mounts(file string) (map[string]Mount, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]Mount{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		m := Mount{Root: fields[3], Point: fields[4]}
		switch tail[0] {
		case "cgroup2":
			out[""] = m
		case "cgroup":
			for c := range strings.SplitSeq(tail[2], ",") {
				out[c] = m
			}
		}
	}
	return out, lines.Err()
}

// OOMKills returns how many processes of the group in a folder the kernel ended for want of memory; 0 if nobody counted.
func OOMKills(dir string) int {
	for _, name := range []string{"memory.events", "memory.oom_control"} { // version 2, version 1
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				kills, _ := strconv.Atoi(strings.TrimSpace(n))
				return kills
			}
		}
	}
	return 0
}
