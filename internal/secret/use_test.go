package secret

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The use of a name is noted by many at once, of names that are stored only, and goes away with it.
func TestTouch(t *testing.T) {
	home := t.TempDir()
	s := Open(home, nil)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	if err := s.Touch("github", at); err == nil || !s.Touched("github").IsZero() {
		t.Errorf("nothing is stored: %v", err)
	}
	if _, err := s.Put(t.Context(), "github@work", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := s.Touch("github@work", at); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := s.Touched("github@work"); !got.Equal(at) {
		t.Errorf("it was used %v", got)
	}
	if names, err := s.List(); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
	if err := s.Remove("github@work"); err != nil || !s.Touched("github@work").IsZero() {
		t.Errorf("removed: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(home, "credentials")); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// One at a time has the lock of a name, and who waits can stop waiting.
func TestLock(t *testing.T) {
	home := t.TempDir()
	if _, err := Open(home, nil).Put(t.Context(), "a", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	var inside atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			unlock, err := Open(home, nil).Lock(t.Context(), "a") // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two have the lock")
			}
			inside.Add(-1)
			unlock()
		})
	}
	all.Wait()
	unlock, err := Open(home, nil).Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(home, nil).Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("it was had twice, or %v", err)
	}
	other, err := Open(home, nil).Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	unlock()
	if unlock, err = Open(home, nil).Lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	unlock()
}
