//go:build unix

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
	"moat/internal/sandbox/cgroup"
	"moat/internal/sandbox/walls"
)

// Report implements sandbox.Runtime.
func (r *Runtime) Report(ctx context.Context, ref sandbox.Ref) (sandbox.Report, error) {
	rec, err := sandbox.ReadRecord[record](ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = sandbox.ErrGone
	}
	if err != nil {
		return sandbox.Report{}, fmt.Errorf("report on sandbox %s: %w", ref.ID, err)
	}
	report := rec.Report
	if rec.group("pids") != "" { // its number is still its own
		report.Walls = walls.Of(rec.PID)
	}
	if dir := rec.group("memory"); dir != "" {
		report.OOMKills = cgroup.OOMKills(dir)
		return report, nil
	}
	eng, err := newEngine(rec.Endpoint)
	if err != nil {
		return report, fmt.Errorf("report on sandbox %s: %w", ref.ID, err)
	}
	defer eng.close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if rec.Relayed {
		if found, err := eng.found(ctx, rec.Container); err == nil {
			report.OOMKills, report.Walls = found.OOMKills, found.Walls
			return report, nil
		}
	}
	// It has ended: the engine knows whether memory was why.
	c, err := eng.inspect(ctx, containerName(ref))
	if errors.Is(err, errNotFound) {
		err = sandbox.ErrGone
	}
	if err != nil {
		return report, fmt.Errorf("report on sandbox %s: %w", ref.ID, err)
	}
	if c.State.OOMKilled {
		report.OOMKills = 1 // at least
	}
	return report, nil
}

// maxFound bounds it, in bytes.
const maxFound = 64 << 10

// found asks inside.
func (e *engine) found(ctx context.Context, container string) (box.Found, error) {
	var f box.Found
	conn, err := e.exec(ctx, container, insideProgram, "guest", "report")
	if err != nil {
		return f, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	return f, json.NewDecoder(io.LimitReader(conn, maxFound)).Decode(&f)
}

// group returns the folder of the container's control group with a controller; empty if there is none that is seen from here.
func (rec record) group(controller string) string {
	if rec.PID == 0 || rec.Container == "" {
		return ""
	}
	of, err := cgroup.Of(fmt.Sprintf("/proc/%d/cgroup", rec.PID))
	if err != nil {
		return ""
	}
	mounts, err := cgroup.Mounts("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for _, key := range []string{controller, ""} { // of version 1, unified
		path, there := of[key]
		m, mounted := mounts[key]
		if there && mounted && strings.Contains(path, rec.Container) { // otherwise the number is another process's by now
			return m.Folder(path)
		}
	}
	return ""
}

// report says which of the limits hold, as the kernel has them.
func (l *launch) report() sandbox.Report {
	var rep sandbox.Report
	want := l.spec.Limits
	for _, limit := range []struct {
		hold       *sandbox.Hold
		what       string
		asked      bool
		controller string
		files      []string // of version 2 and 1
	}{
		{&rep.Memory, "memory", want.MemoryBytes > 0, "memory", []string{"memory.max", "memory.limit_in_bytes"}},
		{&rep.CPUs, "cpu", want.CPUs > 0, "cpu", []string{"cpu.max", "cpu.cfs_quota_us"}},
		{&rep.PIDs, "process", true, "pids", []string{"pids.max"}},
	} {
		if !limit.asked {
			continue
		}
		if l.rec.PID == 0 || holds(l.rec.group(limit.controller), limit.files) {
			*limit.hold = sandbox.Held
			continue
		}
		rep.Warnings = append(rep.Warnings, fmt.Sprintf("the %s limit is not held, because the engine cannot set it", limit.what))
	}
	return rep
}

// holds tells whether one of a group's files has a number in it that is a limit: "max" and -1 are none.
func holds(dir string, files []string) bool {
	if dir == "" {
		return false
	}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b))
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err == nil && n >= 0 && n < 1<<62 { // version 1 has the largest multiple of a page for no limit
			return true
		}
	}
	return false
}
