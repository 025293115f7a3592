package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/atomicfile"
)

func ended(t testing.TB, h *Home, name string) string {
	t.Helper()
	f := create(t, h, name)
	do(t, f, EventStart, EventError)
	f.Close()
	return f.rec.ID
}

func TestTwoDestroyers(t *testing.T) {
	h := newHome(t)
	for round := range 100 {
		id := ended(t, h, "")
		if err := os.MkdirAll(filepath.Join(h.Dir(id), DirSandbox, "a/b/c"), 0o700); err != nil {
			t.Fatal(err)
		}
		var errs [2]error
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() { errs[i] = h.Destroy(id) })
		}
		both.Wait()
		if errs[0] != nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		if errs[0] != nil || !errors.As(errs[1], new(*NotFoundError)) {
			t.Fatalf("round %d: %v and %v", round, errs[0], errs[1])
		}
	}
	if entries, err := os.ReadDir(h.runs()); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestTwoDestroyersInTwoProcesses(t *testing.T) {
	h := newHome(t)
	for round := range 20 {
		got := race(t, h, "destroy", ended(t, h, ""))
		if got["won"] != 1 || got["not found"] != 1 {
			t.Fatalf("round %d: %v", round, got)
		}
	}
}

func TestDestroyFreesTheNameOfADamagedRun(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	f.Close()
	if err := errors.Join(os.Remove(filepath.Join(f.dir, FileLock)), os.Remove(filepath.Join(f.dir, FileRecord))); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := h.Get("web"); !errors.As(err, &damaged) || damaged.ID != f.rec.ID {
		t.Fatalf("Get: %v", err)
	}
	if err := h.Destroy(damaged.ID); err != nil {
		t.Fatal(err)
	}
	create(t, h, "web")
}

// Every stage at which a Create or a Destroy can be killed, made by hand, while its maker lives and after.
func TestSweep(t *testing.T) {
	h := newHome(t)
	kept := ended(t, h, "")
	stage := func(prefix string, files ...string) (id, dir string) {
		id = NewID()
		dir = h.runs(prefix + id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return id, dir
	}
	var want []string
	for _, prefix := range []string{prefixNew, prefixTrash} {
		for _, files := range [][]string{{}, {FileLock}, {FileLock, atomicfile.TempPrefix + "A"}, {FileLock, FileRecord}, {FileRecord}} {
			id, _ := stage(prefix, files...)
			want = append(want, id)
		}
	}
	var living []string
	for _, prefix := range []string{prefixNew, prefixTrash} {
		_, dir := stage(prefix)
		lock, err := Lock(filepath.Join(dir, FileLock))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		living = append(living, dir)
	}
	_, foreign := stage(".new-thing-of-somebody-else-")
	for name, target := range map[string]string{"gone": NewID(), "over": kept, "odd": "/etc"} {
		if err := os.Symlink(target, h.names(name)); err != nil {
			t.Fatal(err)
		}
	}

	swept, err := h.Sweep()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(swept, want) {
		t.Errorf("swept %v, want %v", swept, want)
	}
	entries, err := os.ReadDir(h.runs())
	if err != nil || len(entries) != len(living)+2 || !isDir(living[0]) || !isDir(living[1]) || !isDir(foreign) || !isDir(h.Dir(kept)) {
		t.Errorf("left %v, %v", entries, err)
	}
	if names, _ := os.ReadDir(h.names("")); len(names) != 1 {
		t.Errorf("names left: %v", names)
	}
}

// What a sandbox leaves behind may not lead its removal anywhere else.
func TestRemoveHostileTree(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	id := ended(t, h, "")
	dir := filepath.Join(h.Dir(id), DirSandbox)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.Symlink(outside, at("out")),
		os.Symlink(filepath.Join(outside, "precious"), at("file")),
		os.Symlink("/", at("root")), os.Symlink(".", at("loop")), os.Symlink("../../..", at("up")),
		syscall.Mkfifo(at("fifo"), 0),
		os.MkdirAll(at("closed/in/here"), 0o700), os.Chmod(at("closed/in"), 0), os.Chmod(at("closed"), 0),
		os.Mkdir(at("new\nline \x1b[31m"), 0o500), os.WriteFile(at("-rf"), nil, 0),
		os.Symlink(outside, filepath.Join(h.Dir(id), "run-0123456789ab")),
	); err != nil {
		t.Fatal(err)
	}
	if err := h.Destroy(id); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(h.runs()); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	info, err := os.Stat(filepath.Join(outside, "precious"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("what was outside: %v, %v", info, err)
	}
}

// An ordinary user's run with folders that nobody may enter, as overlayfs and commands inside leave them.
func TestRemoveClosedFoldersAsUser(t *testing.T) {
	dir := openTemp(t)
	tree := filepath.Join(dir, "mine", "tree")
	if err := os.MkdirAll(filepath.Join(tree, "work/work/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(dir, "mine"), func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, nobody(), -1))
	})
	if err := errors.Join(err, os.Chmod(filepath.Join(tree, "work/work"), 0), os.Chmod(filepath.Join(tree, "work"), 0o500),
		os.WriteFile(filepath.Join(tree, "roots"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	c := start(t, &Home{path: dir}, "remove", tree, asNobody)
	if got := c.line(); got != "" || isDir(tree) {
		t.Errorf("told %q", got)
	}
}

// What may not be removed is told, and the rest goes.
func TestRemoveAsFarAsPermitted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files that somebody else may not remove")
	}
	dir := openTemp(t)
	tree := filepath.Join(dir, "mine", "tree")
	roots := filepath.Join(tree, "roots")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(roots, "full"), 0o755),
		os.Mkdir(filepath.Join(tree, "other"), 0o755),
		os.Chown(filepath.Join(dir, "mine"), nobody(), -1), os.Chown(tree, nobody(), -1),
	); err != nil {
		t.Fatal(err)
	}
	c := start(t, &Home{path: dir}, "remove", tree, asNobody)
	if got := c.line(); !strings.Contains(got, roots) || !strings.Contains(got, "permission denied") {
		t.Errorf("told %q", got)
	}
	if isDir(filepath.Join(tree, "other")) || !isDir(filepath.Join(roots, "full")) {
		t.Error("wrong things are left")
	}
}

// A person's folder that is still mounted in a run's folder must survive the run's removal.
func TestRemoveStopsAtMounts(t *testing.T) {
	dir := t.TempDir()
	got := mounted(t, `
		cd '`+dir+`'; mkdir -p project/src tree/sandbox/workspace tree/sandbox/other; echo x > project/src/file
		mount --bind project tree/sandbox/workspace
		export MOAT_RUN_TEST=remove MOAT_RUN_TEST_HOME=$PWD
		MOAT_RUN_TEST_ARG=$PWD/tree `+self(t)+` || true
		cat project/src/file; ls tree/sandbox
		umount tree/sandbox/workspace
		MOAT_RUN_TEST_ARG=$PWD/tree `+self(t)+`
		ls`)
	want := fmt.Sprintf("error: remove %s/tree/sandbox/workspace: device or resource busy\nx\nworkspace\nproject\n", dir)
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A tree that is deeper than paths can be long and than descriptors suffice, with more entries than one read of a
// folder returns.
func TestRemoveDeepAndWideTree(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(tree, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	c := exec.Command("/bin/sh", "-c", "ulimit -n 200; exec "+self(t))
	c.Env = append(os.Environ(), roleVar+"=remove", "MOAT_RUN_TEST_HOME=/", "MOAT_RUN_TEST_ARG="+tree)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if isDir(tree) {
		t.Error("it is still there")
	}
}

func TestRemoveNothing(t *testing.T) {
	if err := removeTree(filepath.Join(t.TempDir(), "missing")); err != nil {
		t.Error(err)
	}
}

// Destroying is refused while a supervisor of another process lives, and possible as soon as it is dead.
func TestDestroyWaitsForNobody(t *testing.T) {
	h := newHome(t)
	id := ended(t, h, "")
	c := start(t, h, "adopt", id)
	c.line()
	begin := time.Now()
	if err := h.Destroy(id); !errors.Is(err, ErrLocked) || time.Since(begin) > 30*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
	c.kill()
	if err := h.Destroy(id); err != nil {
		t.Error(err)
	}
}
