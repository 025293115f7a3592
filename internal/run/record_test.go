package run

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/atomicfile"
)

func stored(t testing.TB) (Record, []byte) {
	t.Helper()
	rec := finished("web", noon)
	rec.ID, rec.Version, rec.Plan, rec.Signal = NewID(), Version, typicalPlan(), 9
	rec.Stop = &Stop{At: noon, Grace: 10_000}
	data, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	return rec, data
}

func TestRecordComesBack(t *testing.T) {
	rec, data := stored(t)
	got, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec, got); diff != "" {
		t.Errorf("(-saved +loaded):\n%s", diff)
	}
}

func TestImpossibleRecords(t *testing.T) {
	for what, edit := range map[string]func(m map[string]any){
		"unknown state":        func(m map[string]any) { m["state"] = "paused" },
		"no state":             func(m map[string]any) { delete(m, "state") },
		"no id":                func(m map[string]any) { delete(m, "id") },
		"id is a path":         func(m map[string]any) { m["id"] = "../../etc" },
		"no name":              func(m map[string]any) { delete(m, "name") },
		"hostile name":         func(m map[string]any) { m["name"] = "../x" },
		"no creation time":     func(m map[string]any) { delete(m, "created_at") },
		"not a time":           func(m map[string]any) { m["ended_at"] = "yesterday" },
		"exited, no code":      func(m map[string]any) { m["exit_code"] = nil },
		"exited, no end":       func(m map[string]any) { m["ended_at"] = nil },
		"exited, no start":     func(m map[string]any) { m["started_at"] = nil },
		"running, with an end": func(m map[string]any) { m["state"] = "running" },
		"code is a text":       func(m map[string]any) { m["exit_code"] = "0" },
		"plan is a list":       func(m map[string]any) { m["plan"] = []int{} },
		"no version":           func(m map[string]any) { delete(m, "version") },
		"version 0":            func(m map[string]any) { m["version"] = 0 },
		"version is a text":    func(m map[string]any) { m["version"] = "1" },
	} {
		_, data := stored(t)
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if rec, err := decode(data); err == nil {
			t.Errorf("%s: taken for a record: %+v", what, rec)
		}
	}
}

func TestFieldsOfTheFuture(t *testing.T) {
	_, data := stored(t)
	data = []byte(strings.Replace(string(data), `"state"`, `"colour": "blue", "state"`, 1))
	if _, err := decode(data); err != nil {
		t.Errorf("a field that may be ignored is not: %v", err)
	}
}

func TestNewerRecord(t *testing.T) {
	h := newHome(t)
	rec := plant(t, h, finished("web", noon))
	path := filepath.Join(h.Dir(rec.ID), FileRecord)
	data := `{"version": 99, "id": ["all", "new"], "state": 7}`
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := h.Get(rec.ID)
	var newer *NewerError
	if !errors.As(err, &newer) || newer.Version != 99 || !strings.Contains(err.Error(), "made by a newer moat") {
		t.Errorf("Get: %v", err)
	}
	if _, err := h.Adopt(rec.ID); !errors.As(err, &newer) {
		t.Errorf("Adopt: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != data {
		t.Error("it was touched")
	}
}

// The versions to come are tried with made-up steps: 1 called the name "title", 2 had no attempts.
func TestUpgrade(t *testing.T) {
	steps := []upgrade{
		func(f map[string]json.RawMessage) error { f["name"] = f["title"]; return nil },
		func(f map[string]json.RawMessage) error { f["attempts"] = json.RawMessage("1"); return nil },
	}
	want, data := stored(t)
	want.Attempts = 1
	old := strings.NewReplacer(`"name": "web"`, `"title": "web"`, `"attempts": 0,`, "").Replace(string(data))
	for version, data := range map[string]string{"1": old, "2": strings.Replace(old, "title", "name", 1)} {
		data = strings.Replace(data, `"version": 1`, `"version": `+version, 1)
		got, err := decodeVersion([]byte(data), 3, steps)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version %s (-want +got):\n%s", version, diff)
		}
	}
	if _, err := decodeVersion(data, 3, []upgrade{steps[0], func(map[string]json.RawMessage) error { return errors.New("no") }}); err == nil {
		t.Error("a step that fails is no error")
	}
}

// A record that is cut off anywhere is damaged, and all but the last byte, the line end, are needed.
func TestTornRecord(t *testing.T) {
	h := newHome(t)
	rec, data := stored(t)
	rec = plant(t, h, rec)
	other := plant(t, h, finished("other", noon))
	path := filepath.Join(h.Dir(rec.ID), FileRecord)
	for n := range len(data) - 1 {
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		var damaged *DamagedError
		if _, err := h.Get(rec.ID); !errors.As(err, &damaged) || damaged.Path != path || damaged.ID != rec.ID {
			t.Fatalf("cut at %d: %v", n, err)
		}
		list, err := h.List(true)
		if err != nil || len(list.Runs) != 1 || list.Runs[0].ID != other.ID || len(list.Problems) != 1 || list.Problems[0].ID != rec.ID {
			t.Fatalf("cut at %d: %+v, %v", n, list, err)
		}
	}
	if err := h.Destroy(rec.ID); err != nil {
		t.Errorf("a damaged run cannot be destroyed: %v", err)
	}
}

// A writer that was killed between writing and renaming left the whole new record: it is certain what run.json
// should be. Readers use it, and whoever takes the run over puts it in its place.
func TestRescue(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	id, dir := f.rec.ID, f.dir
	f.Close()
	whole, err := os.ReadFile(filepath.Join(dir, FileRecord))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(FileRecord, nil)
	write(atomicfile.TempPrefix+"A", whole[:100])
	if _, err := h.Get(id); !errors.As(err, new(*DamagedError)) {
		t.Errorf("from half a record: %v", err)
	}
	write(atomicfile.TempPrefix+"B", whole)
	if e, err := h.Get(id); err != nil || e.Name != "web" {
		t.Errorf("Get: %+v, %v", e, err)
	}
	if info, _ := os.Stat(filepath.Join(dir, FileRecord)); info.Size() != 0 {
		t.Error("Get wrote")
	}
	write(atomicfile.TempPrefix+"C", whole)
	if _, err := h.Get(id); !errors.As(err, new(*DamagedError)) {
		t.Errorf("from one of two: %v", err)
	}
	os.Remove(filepath.Join(dir, atomicfile.TempPrefix+"C"))

	g, err := h.Adopt(id)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if got, _ := os.ReadFile(filepath.Join(dir, FileRecord)); string(got) != string(whole) {
		t.Errorf("run.json is %q", got)
	}
	if left := leftovers(dir); len(left) != 0 {
		t.Errorf("Adopt left %q", left)
	}
}

func TestDoKeepsTheRules(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	before := f.Record()
	if err := f.Do(EventEnd, noon, nil); !errors.As(err, new(*TransitionError)) {
		t.Errorf("an event that is not in the table: %v", err)
	}
	for what, change := range map[string]func(*Record){
		"state":   func(r *Record) { r.State = Running },
		"id":      func(r *Record) { r.ID = NewID() },
		"name":    func(r *Record) { r.Name = "other" },
		"version": func(r *Record) { r.Version++ },
		"an end":  func(r *Record) { r.EndedAt = &noon },
	} {
		if err := f.Update(change); err == nil {
			t.Errorf("%s can be changed", what)
		}
		if err := f.Do(EventStart, noon, change); err == nil {
			t.Errorf("%s can be changed with an event", what)
		}
	}
	if diff := cmp.Diff(before, f.Record()); diff != "" {
		t.Errorf("what was refused changed something:\n%s", diff)
	}
	do(t, f, EventStart, EventUp)
	if err := f.Do(EventEnd, noon, nil); err == nil {
		t.Error("exited without a code")
	}
	if err := f.Do(EventEnd, noon.In(time.FixedZone("", 3600)), func(r *Record) { r.ExitCode = new(int) }); err != nil {
		t.Error(err)
	}
	if got := f.Record(); got.StartedAt == nil || got.EndedAt == nil || got.EndedAt.Location() != time.UTC {
		t.Errorf("times are wrong: %+v", got)
	}
}

// The copies that readers get are theirs.
func TestRecordIsACopy(t *testing.T) {
	f := create(t, newHome(t), "web")
	do(t, f, EventStart, EventUp)
	*f.Record().StartedAt = noon
	if f.Record().StartedAt.Equal(noon) {
		t.Error("a reader changed the record")
	}
}

// While saving fails the truth is in memory, and it is saved as soon as that works.
func TestSaveFails(t *testing.T) {
	h := newHome(t)
	f := create(t, h, "web")
	path := filepath.Join(f.dir, FileRecord)
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	var se *SaveError
	if err := f.Do(EventStart, time.Now(), nil); !errors.As(err, &se) || se.Path != path {
		t.Errorf("Do: %v", err)
	}
	if err := f.Do(EventError, time.Now(), nil); !errors.As(err, &se) {
		t.Errorf("Do: %v", err)
	}
	if got := f.Record().State; got != Failed {
		t.Errorf("in memory it is %s", got)
	}
	if left := leftovers(f.dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	if e, err := h.Get(f.rec.ID); err != nil || e.State != Failed {
		t.Errorf("on disk: %+v, %v", e, err)
	}
	if _, err := os.Lstat(h.names("web")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the name was not given up")
	}
}

func TestDescribe(t *testing.T) {
	code := func(n int) *int { return &n }
	for want, rec := range map[string]Record{
		"is running": {State: Running},
		"exited with code 3 at 2026-05-04T12:00:00Z":      {State: Exited, EndedAt: &noon, ExitCode: code(3)},
		"exited by signal 9 at 2026-05-04T12:00:00Z":      {State: Exited, EndedAt: &noon, ExitCode: code(137), Signal: 9},
		"failed at 2026-05-04T12:00:00Z: no such image":   {State: Failed, EndedAt: &noon, Reason: "no such image"},
		"was lost at 2026-05-04T12:00:00Z":                {State: Lost, EndedAt: &noon},
		"stopped with code 143 at 2026-05-04T12:00:00Z":   {State: Stopped, EndedAt: &noon, ExitCode: code(143)},
		"is stopping: the disk that it writes to is full": {State: Stopping, Reason: "the disk that it writes to is full"},
	} {
		if got := rec.Describe(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Whatever is in run.json, reading it ends in a record that can be saved again as it is, or in an error.
func FuzzDecode(f *testing.F) {
	_, data := stored(f)
	f.Add(data)
	f.Add([]byte(`{"version": 2}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := decode(data)
		if err != nil {
			return
		}
		again, err := rec.encode()
		if err != nil {
			t.Fatalf("cannot be saved again: %v", err)
		}
		back, err := decode(again)
		if err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
		third, err := back.encode()
		if err != nil || string(third) != string(again) {
			t.Fatalf("does not stay the same: %v\n%s\n%s", err, again, third)
		}
	})
}
