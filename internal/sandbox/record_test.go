package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestRecord writes a record, replaces it, and tears it.
func TestRecord(t *testing.T) {
	type note struct{ PID int }
	ref := Ref{ID: "run-1", Dir: t.TempDir()}
	if _, err := ReadRecord[note](ref); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without one: %v", err)
	}
	for _, want := range []note{{1}, {2}} {
		if err := WriteRecord(ref, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadRecord[note](ref); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	name := filepath.Join(ref.Dir, RecordName)
	if err := os.Truncate(name, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord[note](ref); !errors.Is(err, ErrTorn) {
		t.Errorf("of a torn one: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(ref.Dir, "*.new")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
