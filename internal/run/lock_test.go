package run

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func isLocked(t *testing.T, path string) bool {
	t.Helper()
	locked, err := Locked(path)
	if err != nil {
		t.Fatal(err)
	}
	return locked
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if isLocked(t, path) {
		t.Error("what does not exist is locked")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("asking made the file")
	}
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // asking neither takes nor loses it, in this process either
		if !isLocked(t, path) {
			t.Error("not locked")
		}
		if _, err := Lock(path); !errors.Is(err, ErrLocked) {
			t.Errorf("second Lock: %v", err)
		}
	}
	f.Close()
	if isLocked(t, path) {
		t.Error("still locked after Close")
	}
}

// The lock belongs to whoever has the descriptor: it outlives the guard as long as the supervisor lives, and the
// other way round.
func TestLockIsHeldByEveryHeir(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "")
	id, path := f.Record().ID, filepath.Join(f.Dir(), FileLock)
	heir := func(c *exec.Cmd) { c.ExtraFiles = []*os.File{f.Lock()} }

	first := start(t, h, "inherit", id, heir)
	if got := first.line(); got != id {
		t.Fatalf("heir says %q", got)
	}
	first.kill()
	if !isLocked(t, path) {
		t.Error("the supervisor's death let go of the guard's lock")
	}
	second := start(t, h, "inherit", id, heir)
	second.line()
	f.Close()
	if !isLocked(t, path) {
		t.Error("the guard's death let go of the supervisor's lock")
	}
	if got := start(t, h, "adopt", id).line(); got != "error: "+ErrLocked.Error() {
		t.Errorf("a stranger who wants the lock is told %q", got)
	}
	second.kill()
	if isLocked(t, path) {
		t.Error("locked after both died")
	}
	if got := start(t, h, "adopt", id).line(); got != id {
		t.Errorf("the next one is told %q", got)
	}
}

func TestInheritWithoutTheLock(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "")
	other, err := os.Open(filepath.Join(f.Dir(), FileLock))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := start(t, h, "inherit", f.Record().ID, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{other} })
	if got := c.line(); got == f.Record().ID {
		t.Error("a descriptor that does not hold the lock is as good as one that does")
	}
}

// Whoever waits for the lock while the run is destroyed must not get the lock of a file that is gone.
func TestLockOfRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := take(f, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock of a removed file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := take(f, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock of a replaced file: %v", err)
	}
}
