package soak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk makes the world's home a file system of its own of so many MiB.
func smallDisk(t *testing.T, w *world, mib int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a small file system")
	}
	if err := os.Mkdir(w.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("soak", w.home, "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", mib)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.leave() // the world's own clean-up comes too late
		if err := unix.Unmount(w.home, 0); err != nil {
			t.Errorf("unmount the small file system: %v", err)
			_ = unix.Unmount(w.home, unix.MNT_DETACH)
		}
	})
}

// remount changes the small file system.
func remount(t *testing.T, w *world, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("soak", w.home, "tmpfs", unix.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

// full starts a talker and waits until the disk is full of what it says.
func full(w *world, name string, n int) *command {
	w.t.Helper()
	c := w.talker(name, "flood", fmt.Sprint(n))
	c.cmd.Args = append(c.cmd.Args[:1], c.cmd.Args[2:]...) // not quiet: its notices are wanted
	c.start()
	w.must("the notice that the disk is full", func() bool { return strings.Contains(c.err.String(), "no room left in "+w.home) })
	return c
}

// TestFullDisk lets a run fill the disk, with and without the death of its supervisor. It waits and goes on when there is
// room, and nothing is lost.
func TestFullDisk(t *testing.T) {
	const n = 300_000 // 3 MB
	for name, victims := range map[string][]role{"waits": nil, "waits-killed": {roleSupervisor}, "waits-all-killed": {roleGuard, roleSupervisor}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			smallDisk(t, w, 2)
			c := full(w, name, n)
			if len(victims) > 0 {
				w.killRoles(victims...)
				w.must("a successor", func() bool { run, _ := w.find(name); return run.Clients != nil && *run.Clients > 0 })
			}
			remount(t, w, 0, "size=64m")
			c.want(exitTalked)
			if got := lines(t, "shown", 'o', c.out.Bytes(), false); got != n {
				t.Errorf("%d lines were shown, want %d", got, n)
			}
			run, _ := w.find(name)
			w.exited(run.ID, n, "stdout")
		})
	}
}

// TestStopOnFullDisk stops a run that waits for room: it ends, and says what is missing.
func TestStopOnFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	smallDisk(t, w, 2)
	c := full(w, "stopped", 1_000_000)
	run, _ := w.find("stopped")
	w.command("stop", "--time", "500ms", run.ID).want(0)
	c.wait()
	run, _ = w.find("stopped")
	if run.State != "stopped" || run.Reason == nil || !strings.Contains(*run.Reason, "bytes of its output are missing") {
		t.Errorf("%v", run)
	}
	if !strings.Contains(c.err.String(), "is let go") {
		t.Errorf("the client was not told that something is missing: %q", c.err.String())
	}
	record := w.record(run.ID, "stdout")
	if got := lines(t, "record", 'o', record, true); got < 50_000 {
		t.Errorf("only %d lines were recorded on a disk of 2 MiB", got)
	}
	if !bytes.Equal(record, c.out.Bytes()) {
		t.Errorf("%d bytes were shown, %d are recorded", len(c.out.Bytes()), len(record))
	}
	w.nothingLeft(run.ID)
}

// TestStartOnFullDisk starts a run where there is no room: an error, and nothing is left.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	smallDisk(t, w, 1)
	filler := filepath.Join(w.home, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the file system is too large for this test")
	}
	c := w.talker("no-room", "steady", "3", "1ms").want(125)
	if !strings.Contains(c.err.String(), "full") && !strings.Contains(c.err.String(), "no space") {
		t.Errorf("a start on a full disk says %q", c.err.String())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.command("clean", "-f").want(0)
	if left := w.leftInHome(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestReadOnlyHome looks at runs where nothing can be written, and tries to start one.
func TestReadOnlyHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	smallDisk(t, w, 4)
	id := w.detached("steady", "5", "1ms")
	w.exited(id, 5, "stdout", "stderr")
	remount(t, w, unix.MS_RDONLY, "")
	if n := lines(t, "record", 'o', w.record(id, "stdout"), false); n != 5 {
		t.Errorf("%d lines, want 5", n)
	}
	if run, ok := w.find(id); !ok || run.State != "exited" {
		t.Errorf("%v", run)
	}
	c := w.talker("read-only", "steady", "3", "1ms").wait()
	if c.code() == 0 || c.code() == exitTalked || !strings.Contains(c.err.String(), "read-only") {
		t.Errorf("a start on a read-only disk ended with %d and says %q", c.code(), c.err.String())
	}
	if c := w.command("destroy", id).wait(); c.code() == 0 || !strings.Contains(c.err.String(), "read-only") {
		t.Errorf("destroy on a read-only disk ended with %d and says %q", c.code(), c.err.String())
	}
	remount(t, w, 0, "")
}
