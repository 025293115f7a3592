package approval

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openHome(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestStore(t *testing.T) {
	home, dir := openHome(t)
	if _, _, err := Load(home, "/w"); !errors.Is(err, ErrNone) {
		t.Errorf("nothing stored: %v", err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, list := range []string{"grant b, grant a, memory<2", "", "!policy strict"} {
		if err := Save(home, "/w", parse(list), now); err != nil {
			t.Fatal(err)
		}
		got, at, err := Load(home, "/w")
		if err != nil || !at.Equal(now) || len(Widens(got, parse(list)))+len(Widens(parse(list), got)) > 0 {
			t.Errorf("%q came back as %v, %v, %v", list, got, at, err)
		}
	}
	if _, _, err := Load(home, "/v"); !errors.Is(err, ErrNone) {
		t.Errorf("another workspace: %v", err)
	}
	for name, want := range map[string]os.FileMode{Folder: 0o700 | os.ModeDir, file("/w"): 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestTamperedStore changes each field, and moves a whole approval to another workspace.
func TestTamperedStore(t *testing.T) {
	home, dir := openHome(t)
	if err := Save(home, "/w", parse("grant a"), time.Now()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, file("/w"))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(what string, text []byte, workspace string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file(workspace)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if asks, _, err := Load(home, workspace); !errors.Is(err, ErrDamaged) || asks != nil {
			t.Errorf("%s: %v, %v", what, asks, err)
		}
	}
	for field, value := range map[string]any{
		"version": 2, "workspace": "/v", "digest": "0", "asks": []Ask{{Topic: "grant", Text: "b"}},
	} {
		var fields map[string]any
		if err := json.Unmarshal(whole, &fields); err != nil {
			t.Fatal(err)
		}
		fields[field] = value
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		damaged(field, text, "/w")
	}
	for size := range len(whole) - 2 { // the last bytes are "}\n"
		damaged(fmt.Sprint("cut at ", size), whole[:size], "/w")
	}
	damaged("of another workspace", whole, "/v")
}

// TestStoreConcurrently: whoever reads sees one of the approvals, whole.
func TestStoreConcurrently(t *testing.T) {
	home, _ := openHome(t)
	if err := Save(home, "/w", nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				if err := Save(home, "/w", parse(fmt.Sprint("grant ", i)), time.Now()); err != nil {
					t.Error(err)
				}
				if asks, _, err := Load(home, "/w"); err != nil || len(asks) > 1 {
					t.Errorf("%v, %v", asks, err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzLoad(f *testing.F) {
	text, err := json.Marshal(record{version, "/w", time.Time{}, Digest("/w", nil), nil})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		home, dir := openHome(t)
		if err := Save(home, "/w", nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file("/w")), text, 0o600); err != nil {
			t.Fatal(err)
		}
		asks, _, err := Load(home, "/w")
		if err != nil {
			return
		}
		if err := Save(home, "/w", asks, time.Now()); err != nil {
			t.Fatal(err)
		}
		again, _, err := Load(home, "/w")
		if diff := cmp.Diff(normal(asks), again); err != nil || diff != "" && len(asks) > 0 {
			t.Errorf("%v: %s", err, diff)
		}
	})
}
