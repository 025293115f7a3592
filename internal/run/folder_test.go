package run

import (
	"errors"
	"testing"
	"time"

	"moat/internal/plan"
)

func newHome(t testing.TB) *Home {
	t.Helper()
	h, err := Open(t.TempDir() + "/home")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func create(t testing.TB, h *Home, name string) *Folder {
	t.Helper()
	f, err := h.Create(plan.Plan{Name: name, Command: []string{"true"}, Runtime: "native"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func do(t testing.TB, f *Folder, events ...Event) {
	t.Helper()
	for _, on := range events {
		err := f.Do(on, time.Now(), func(r *Record) {
			if r.State == Exited {
				r.ExitCode = new(int)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLifeOfARun(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	id := f.Record().ID
	do(t, f, EventStart, EventUp)

	e, err := h.Get("web")
	if err != nil || e.ID != id || e.State != Running || !e.Locked {
		t.Fatalf("Get of a running run: %+v, %v", e, err)
	}
	if _, err := h.Adopt(id); !errors.Is(err, ErrLocked) {
		t.Errorf("Adopt of a run with a supervisor: %v", err)
	}
	if err := h.Destroy(id); !errors.Is(err, ErrLocked) {
		t.Errorf("Destroy of a run with a supervisor: %v", err)
	}
	if _, err := h.Create(plan.Plan{Name: "web"}, time.Now()); !errors.As(err, new(*NameTakenError)) {
		t.Errorf("Create with a name that is taken: %v", err)
	}

	do(t, f, EventEnd)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if g := create(t, h, "web"); g.Record().ID == id {
		t.Error("two runs have one id")
	}
	if err := h.Destroy(id); err != nil {
		t.Fatal(err)
	}
	var missing *NotFoundError
	if err := h.Destroy(id); !errors.As(err, &missing) || missing.Ref != id {
		t.Errorf("second Destroy: %v", err)
	}
}
