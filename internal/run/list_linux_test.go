package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func BenchmarkList1000(b *testing.B) {
	h := newHome(b)
	for i := range 1000 {
		rec := finished(fmt.Sprintf("brave-otter-%d", i), noon.Add(time.Duration(i)*time.Second))
		rec.Plan = typicalPlan()
		plant(b, h, rec)
	}
	for b.Loop() {
		list, err := h.List(true)
		if err != nil || len(list.Runs) != 1000 || len(list.Problems) != 0 {
			b.Fatalf("%d runs, %d problems, %v", len(list.Runs), len(list.Problems), err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	h := newHome(b)
	for b.Loop() {
		f, err := h.Create(typicalPlan(), time.Now())
		if err != nil {
			b.Fatal(err)
		}
		do(b, f, EventStart, EventError)
		_ = f.Close()
	}
}

func TestListAndGet(t *testing.T) {
	h := newHome(t)
	at := func(hour int) time.Time { return noon.Add(time.Duration(hour) * time.Hour) }
	add := func(id string, rec Record) {
		t.Helper()
		rec.ID = id
		plant(t, h, rec)
	}
	live := func(name string, hour int) Record {
		start := at(hour)
		return Record{Name: name, State: Running, CreatedAt: start, StartedAt: &start}
	}
	add("run-aaaaaaaaaaaa", finished("web", at(5)))
	add("run-aaaaaaaaaaab", live("web", 2))
	add("run-aaab00000000", live("web", 1))
	add("run-bbbbbbbbbbbb", finished("job", at(3)))
	add("run-cccccccccccc", finished("job", at(4)))
	add("run-dddddddddddd", finished("last", at(9)))

	// What else may lie there is not a run, is not followed and is not waited for.
	for name, make := range map[string]func(string) error{
		"run-eeeeeeeeeeee":      func(p string) error { return os.Symlink("run-aaaaaaaaaaaa", p) },
		"run-ffffffffffff":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"run-000000000000":      func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"run-111111111111.bak":  func(p string) error { return os.Mkdir(p, 0o700) },
		".new-run-222222222222": func(p string) error { return os.Mkdir(p, 0o700) },
		"notes":                 func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		if err := make(h.runs(name)); err != nil {
			t.Fatal(err)
		}
	}

	ids := func(all bool) string {
		list, err := h.List(all)
		if err != nil || len(list.Problems) != 0 {
			t.Fatalf("%+v, %v", list.Problems, err)
		}
		var s []string
		for _, e := range list.Runs {
			s = append(s, e.ID[:len("run-aaaa")]+e.ID[len(e.ID)-1:])
		}
		return strings.Join(s, " ")
	}
	if got, want := ids(true), "run-ddddd run-aaaaa run-ccccc run-bbbbb run-aaaab run-aaab0"; got != want {
		t.Errorf("all: %s, want %s", got, want)
	}
	if got, want := ids(false), "run-aaaab run-aaab0"; got != want {
		t.Errorf("live: %s, want %s", got, want)
	}

	for ref, want := range map[string]string{
		"run-aaaaaaaaaaaa": "run-aaaaaaaaaaaa",
		"run-b":            "run-bbbbbbbbbbbb",
		"run-aaab":         "run-aaab00000000",
		"web":              "run-aaaaaaaaaaab", // the newest live one, though an ended one is newer
		"job":              "run-cccccccccccc", // no live one: the newest
	} {
		if e, err := h.Get(ref); err != nil || e.ID != want {
			t.Errorf("Get(%q) = %q, %v, want %q", ref, e.ID, err, want)
		}
	}
	var ambiguous *AmbiguousError
	if _, err := h.Get("run-aaaa"); !errors.As(err, &ambiguous) || len(ambiguous.Candidates) != 2 || ambiguous.Candidates[0].Name != "web" {
		t.Errorf("ambiguous: %v", err)
	}
	for _, ref := range []string{
		"run-9", "run-eeeeeeeeeeee", "run-e", "run-ffffffffffff", "run-000000000000", "run-2", "run-", "run", "r", "we", "notes",
		"../runs/run-aaaaaaaaaaaa", "run-aaaaaaaaaaaaa", "RUN-AAAAAAAAAAAA",
	} {
		var missing *NotFoundError
		if _, err := h.Get(ref); !errors.As(err, &missing) || missing.Ref != ref || len(missing.Candidates) != 6 {
			t.Errorf("Get(%q): %v", ref, err)
		}
	}
	if e, err := h.Newest(true); err != nil || e.ID != "run-aaaaaaaaaaab" {
		t.Errorf("newest live: %q, %v", e.ID, err)
	}
	if e, err := h.Newest(false); err != nil || e.ID != "run-dddddddddddd" {
		t.Errorf("newest: %q, %v", e.ID, err)
	}
}

// While runs come and go in several goroutines, a listing shows whole ones and no problems.
func TestListWhileRunsComeAndGo(t *testing.T) {
	h := newHome(t)
	done := make(chan struct{})
	var makers sync.WaitGroup
	for range 2 {
		makers.Go(func() {
			for range 30 {
				id := ended(t, h, "")
				if err := h.Destroy(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { makers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		list, err := h.List(true)
		if err != nil || len(list.Problems) != 0 {
			t.Fatalf("%+v, %v", list.Problems, err)
		}
	}
}

// Whatever stands in run.json's place is refused at once: nothing is followed, and nothing is waited for.
func TestOddRecords(t *testing.T) {
	_, valid := stored(t)
	for what, place := range map[string]func(path string) error{
		"missing":  func(string) error { return nil },
		"a FIFO":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":   func(path string) error { return os.Symlink("elsewhere", path) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"huge": func(path string) error {
			return errors.Join(os.WriteFile(path, valid, 0o600), os.Truncate(path, 1<<40))
		},
		"another's":  func(path string) error { return os.WriteFile(path, valid, 0o600) },
		"zeroes":     func(path string) error { return os.WriteFile(path, make([]byte, 700), 0o600) },
		"only space": func(path string) error { return os.WriteFile(path, []byte(" \n"), 0o600) },
	} {
		h := newHome(t)
		rec := plant(t, h, finished("web", noon))
		dir := h.Dir(rec.ID)
		if err := os.Rename(filepath.Join(dir, FileRecord), filepath.Join(dir, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := place(filepath.Join(dir, FileRecord)); err != nil {
			t.Fatal(err)
		}
		_, err := h.Get(rec.ID)
		if !errors.As(err, new(*DamagedError)) {
			t.Errorf("%s: Get: %v", what, err)
		}
		if list, err := h.List(true); err != nil || len(list.Runs) != 0 || len(list.Problems) != 1 {
			t.Errorf("%s: List: %+v, %v", what, list, err)
		}
		if _, err := h.Adopt(rec.ID); !errors.As(err, new(*DamagedError)) {
			t.Errorf("%s: Adopt: %v", what, err)
		}
		if err := h.Destroy(rec.ID); err != nil {
			t.Errorf("%s: Destroy: %v", what, err)
		}
	}
}
