package run

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"moat/internal/plan"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.Mkdir(at("private"), 0o700),
		os.Mkdir(at("readable"), 0o755),
		os.Mkdir(at("group"), 0o700), os.Chmod(at("group"), 0o770),
		os.Mkdir(at("all"), 0o700), os.Chmod(at("all"), 0o777),
		os.WriteFile(at("file"), nil, 0o600),
		os.Symlink("private", at("link")),
		os.Symlink("all", at("bad link")),
	); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"private": true, "readable": true, "link": true, "missing": true, "missing/too": true,
		"group": false, "all": false, "bad link": false, "file": false, "file/below": false,
	} {
		_, err := Open(at(name))
		if he := new(HomeError); ok != (err == nil) || err != nil && (!errors.As(err, &he) || !strings.Contains(err.Error(), at(name))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(at("missing")); err == nil {
		t.Error("asking made the folder")
	}
}

func TestOpenForeignHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a folder that belongs to somebody else")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.As(err, new(*HomeError)) {
		t.Errorf("somebody else's home: %v", err)
	}
}

func TestAskingAnEmptyHome(t *testing.T) {
	h := newHome(t)
	if list, err := h.List(true); err != nil || len(list.Runs)+len(list.Problems) != 0 {
		t.Errorf("List: %+v, %v", list, err)
	}
	for _, ref := range []string{"web", "run-0", "run-0123456789ab", "", "../..", "a\x00b"} {
		if _, err := h.Get(ref); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("Get(%q): %v", ref, err)
		}
		if _, err := h.Adopt(ref); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("Adopt(%q): %v", ref, err)
		}
		if err := h.Destroy(ref); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("Destroy(%q): %v", ref, err)
		}
	}
	if _, err := h.Newest(false); !errors.As(err, new(*NotFoundError)) {
		t.Errorf("Newest: %v", err)
	}
	if swept, err := h.Sweep(); err != nil || len(swept) != 0 {
		t.Errorf("Sweep: %v, %v", swept, err)
	}
	if _, err := os.Lstat(h.path); err == nil {
		t.Error("asking made the home")
	}
}

func TestEverythingIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	h := newHome(t)
	create(t, h, "web")
	err := filepath.WalkDir(h.path, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLongHome(t *testing.T) {
	path := t.TempDir()
	for len(path) < 250 {
		path = filepath.Join(path, strings.Repeat("long [*] ", 4))
	}
	h, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f := create(t, h, "web")
	if e, err := h.Get("web"); err != nil || !e.Locked {
		t.Errorf("Get: %+v, %v", e, err)
	}
	f.Close()
	if err := h.Destroy(f.rec.ID); err != nil {
		t.Error(err)
	}
}

// nobody is an ordinary user: the one who runs the test, or another if that is root.
func nobody() int {
	if uid := os.Geteuid(); uid != 0 {
		return uid
	}
	return 65534
}

// asNobody makes a child an ordinary user.
func asNobody(c *exec.Cmd) {
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(nobody()), Gid: uint32(nobody())}}
	}
}

// openTemp is a temporary folder that ordinary users can reach.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "moat-run-") //nolint:usetesting // t.TempDir is not for other users to enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestHomeThatCannotBeWritten(t *testing.T) {
	dir := openTemp(t)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	got := start(t, &Home{path: filepath.Join(dir, "home")}, "probe", "", asNobody).line()
	if !strings.Contains(got, "MOAT_HOME "+dir) || !strings.Contains(got, "your permissions") {
		t.Errorf("told %q", got)
	}
}

// mounted runs a script in its own mount namespace, where it is root, and returns what it printed.
func mounted(t *testing.T, script string) string {
	t.Helper()
	c := exec.Command("/bin/sh", "-ec", script)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER}
	c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	if os.Geteuid() == 0 { // needs no user namespace, which may be forbidden
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	out, err := c.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("ordinary users may not mount here: user namespaces are forbidden")
	}
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}

func TestReadOnlyHome(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	got := mounted(t, `
		export MOAT_RUN_TEST_HOME='`+h.path+`'
		mount -t tmpfs none /mnt; mkdir -m 700 /mnt/empty; mount -o remount,bind,ro /mnt
		mount --bind "$MOAT_RUN_TEST_HOME" "$MOAT_RUN_TEST_HOME"; mount -o remount,bind,ro "$MOAT_RUN_TEST_HOME"
		MOAT_RUN_TEST=probe `+self(t)+` || true
		MOAT_RUN_TEST=get MOAT_RUN_TEST_ARG=web `+self(t)+`
		MOAT_RUN_TEST_HOME=/mnt/empty MOAT_RUN_TEST=probe `+self(t)+` || true`)
	lines := strings.Split(got, "\n")
	want := []string{"MOAT_HOME " + h.path + ": it is on a read-only", f.rec.ID + " created true", "MOAT_HOME /mnt/empty: it is on a read-only"}
	for i, w := range want {
		if i >= len(lines) || !strings.Contains(lines[i], w) {
			t.Errorf("line %d is not about %q:\n%s", i, w, got)
		}
	}
}

func TestFullHome(t *testing.T) {
	got := mounted(t, `
		mount -t tmpfs -o size=64k,mode=700 none /mnt
		export MOAT_RUN_TEST_HOME=/mnt/home
		MOAT_RUN_TEST=probe `+self(t)+`
		cat /dev/zero > /mnt/fill 2>/dev/null || true
		MOAT_RUN_TEST=probe `+self(t)+` || true
		ls -A /mnt/home/runs | grep -v '^run-' || true
		ls -A /mnt/home/names | wc -l`)
	if lines := strings.Split(strings.TrimSpace(got), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "file system is full") || lines[1] != "2" {
		t.Errorf("want one message, no half-made folders, one name and the lock in names; got:\n%s", got)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return "'" + path + "'"
}

// Starts that are killed at random points leave whole runs, and what Sweep removes.
func TestKilledWhileCreating(t *testing.T) {
	h := newHome(t)
	for round := range 30 {
		c := start(t, h, "create", "")
		for range 1 + round%4 {
			if s := c.line(); !IsID(s) {
				t.Fatal(s)
			}
		}
		// The kill comes wherever the child is by then: within some step of the next run.
		c.kill()
	}
	list, err := h.List(true)
	if err != nil || len(list.Problems) != 0 {
		t.Fatalf("%+v, %v", list.Problems, err)
	}
	if _, err := h.Sweep(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(h.runs())
	if err != nil || len(entries) != len(list.Runs) || len(list.Runs) < 30 {
		t.Errorf("%d folders for %d runs, %v", len(entries), len(list.Runs), err)
	}
	for _, e := range list.Runs {
		if e.Locked {
			t.Errorf("%s is locked", e.ID)
		}
		if e.State.Live() {
			f, err := h.Adopt(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Do(EventGone, time.Now(), nil); err != nil {
				t.Error(err)
			}
			f.Close()
		}
		if left := leftovers(h.Dir(e.ID)); e.State.Live() && len(left) != 0 {
			t.Errorf("%s has %q", e.ID, left)
		}
		if err := h.Destroy(e.ID); err != nil {
			t.Error(err)
		}
	}
	if names, _ := os.ReadDir(h.names("")); len(names) != 1 {
		t.Errorf("names are left: %v", names)
	}
}

// A record never says less than its writer was told: kill -9 in the middle of saving loses nothing.
func TestKilledWhileSaving(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	id := f.rec.ID
	f.Close()
	for round := range 30 {
		c := start(t, h, "save", id)
		var last string
		for range 1 + round%5 {
			last = c.line()
		}
		c.kill()
		for s := c.line(); s != ""; s = c.line() {
			last = s
		}
		e, err := h.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if want := atoi(t, last); e.Attempts != want && e.Attempts != want+1 {
			t.Fatalf("saved up to %d, found %d", want, e.Attempts)
		}
	}
	g, err := h.Adopt(id)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if left := leftovers(g.dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

// A failed Create leaves nothing, and says what is wrong.
func TestCreateRollsBack(t *testing.T) {
	h := newHome(t)
	create(t, h, "").Close()
	before, err := os.ReadDir(h.runs())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../x", "Web", "run-0"} {
		if _, err := h.Create(plan.Plan{Name: name}, time.Now()); !errors.As(err, new(*NameError)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := h.Create(plan.Plan{Name: "web"}, time.Time{}); err == nil { // a record that cannot be saved
		t.Error("no error")
	}
	after, err := os.ReadDir(h.runs())
	if err != nil || len(after) != len(before) {
		t.Errorf("%d entries became %d, %v", len(before), len(after), err)
	}
	if _, err := os.Lstat(h.names("web")); err == nil {
		t.Error("the name is still claimed")
	}
}
