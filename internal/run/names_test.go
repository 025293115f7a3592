package run

import (
	"errors"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"moat/internal/plan"
)

func TestNameOfARun(t *testing.T) {
	h := newHome(t)
	live := create(t, h, "web")
	ended := create(t, h, "job")
	do(t, ended, EventStart, EventError)

	var taken *NameTakenError
	_, err := h.Create(plan.Plan{Name: "web"}, time.Now())
	if !errors.As(err, &taken) || taken.Holder != live.Record().ID || taken.Name != "web" {
		t.Errorf("a live run's name: %v", err)
	}
	if list, err := h.List(true); err != nil || len(list.Runs) != 2 {
		t.Errorf("the refused run left something: %+v, %v", list, err)
	}
	next := create(t, h, "job")

	// The first one's late farewell must not cost the second one its name.
	if err := ended.Save(); err != nil {
		t.Fatal(err)
	}
	if holder, _ := os.Readlink(h.names("job")); holder != next.Record().ID {
		t.Errorf("job belongs to %q", holder)
	}
}

func TestNamesOfTheDead(t *testing.T) {
	for what, kill := range map[string]func(h *Home, f *Folder) error{
		"its folder is gone": func(h *Home, f *Folder) error { return os.RemoveAll(f.dir) },
		"it never appeared":  func(h *Home, f *Folder) error { return os.Rename(f.dir, h.runs(prefixNew+f.rec.ID)) },
		"it has ended":       func(h *Home, f *Folder) error { return h.restore(f, finished("web", noon)) },
		"it is no run":       func(h *Home, f *Folder) error { return replaceLink("../../etc", h.names("web")) },
		"it is no link":      func(h *Home, f *Folder) error { os.Remove(h.names("web")); return os.Mkdir(h.names("web"), 0) },
	} {
		h := newHome(t)
		f := create(t, h, "web")
		f.Close()
		if err := kill(h, f); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Create(plan.Plan{Name: "web"}, time.Now()); err != nil {
			t.Errorf("%s, but its name cannot be had: %v", what, err)
		}
	}
}

// restore writes a record without the side effects of Save.
func (h *Home) restore(f *Folder, rec Record) error {
	rec.ID, rec.Version = f.rec.ID, Version
	data, err := rec.encode()
	if err != nil {
		return err
	}
	return writeRecord(f.dir, data)
}

func replaceLink(target, path string) error {
	_ = os.Remove(path)
	return os.Symlink(target, path)
}

// A run that cannot be read, or that nobody looks after at the moment, keeps its name.
func TestNamesOfTheUnclear(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	f.Close()
	for range 2 {
		if _, err := h.Create(plan.Plan{Name: "web"}, time.Now()); !errors.As(err, new(*NameTakenError)) {
			t.Errorf("the name of a run that may live was given away: %v", err)
		}
		if err := os.WriteFile(f.dir+"/run.json", []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRandomNamesRunOut(t *testing.T) {
	h := newHome(t)
	id := create(t, h, "brave-otter").Record().ID
	always := func() string { return "brave-otter" }
	for range 2 {
		name, err := h.claim("", id, always)
		if err != nil || !regexp.MustCompile(`^brave-otter-\d+$`).MatchString(name) {
			t.Errorf("with all names taken a run is called %q, %v", name, err)
		}
	}
}

func TestTwoClaimers(t *testing.T) {
	h := newHome(t)
	for round := range 100 {
		if round%2 == 0 { // every second time there is a dead one to inherit from
			_ = replaceLink(NewID(), h.names("web"))
		}
		var folders [2]*Folder
		var errs [2]error
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() { folders[i], errs[i] = h.Create(plan.Plan{Name: "web"}, time.Now()) })
		}
		both.Wait()
		won := 0
		for i, f := range folders {
			if errs[i] != nil {
				if !errors.As(errs[i], new(*NameTakenError)) {
					t.Fatal(errs[i])
				}
				continue
			}
			won++
			do(t, f, EventStart, EventError)
			f.Close()
		}
		if won != 1 {
			t.Fatalf("round %d: %d of two have the name", round, won)
		}
	}
}

func TestTwoClaimersInTwoProcesses(t *testing.T) {
	h := newHome(t)
	create(t, h, "") // makes the folders
	for round := range 20 {
		_ = replaceLink(NewID(), h.names("web"))
		got := race(t, h, "claim", "web")
		if got["won"] != 1 || got["taken"] != 1 {
			t.Fatalf("round %d: %v", round, got)
		}
	}
}

// race lets two processes do the same at once and counts what they say.
func race(t *testing.T, h *Home, role, arg string) map[string]int {
	t.Helper()
	a, b := start(t, h, role, arg), start(t, h, role, arg)
	a.line()
	b.line()
	a.tell("go")
	b.tell("go")
	got := map[string]int{a.line(): 1}
	got[b.line()]++
	a.finish()
	b.finish()
	return got
}
