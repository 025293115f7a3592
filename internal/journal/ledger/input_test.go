package ledger

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"moat/internal/audit"
)

func TestInput(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	in := NewInput(key, SourceText(7))
	add := func(offset uint64, text string, eof bool) {
		t.Helper()
		if err := in.Add(offset, []byte(text), eof); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want Piece) {
		t.Helper()
		got, ok := in.Take()
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, ok := in.Take(); ok {
			t.Error("it was taken twice")
		}
	}
	if _, ok := in.Take(); ok {
		t.Error("something came of nothing")
	}
	add(0, "l", false)
	add(1, "s\n", false)
	want(Piece{From: 0, To: 3, HMAC: InputHMAC(key, SourceText(7), 0, []byte("ls\n"))})
	if err := in.Add(2, []byte("x"), false); err == nil {
		t.Error("bytes that overlap on one connection are taken in")
	}
	if err := in.Add(4, []byte("x"), false); err == nil {
		t.Error("bytes that leave some out on one connection are taken in")
	}
	add(3, "", true)
	want(Piece{From: 3, To: 3, EOF: true, HMAC: InputHMAC(key, SourceText(7), 3, nil)})

	// On another connection it goes on anywhere.
	in = NewInput(key, SourceText(7))
	add(2, "abcd", false)
	want(Piece{From: 2, To: 6, HMAC: InputHMAC(key, SourceText(7), 2, []byte("abcd"))})
}

// TestInputDigestsTellNothing: equal texts differ by run, client and place.
func TestInputDigestsTellNothing(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []string{"one", "two"} {
		for source := range uint64(2) {
			for from := range uint64(2) {
				seen[InputHMAC([]byte(key), SourceText(source), from, []byte("y\n"))] = true
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d digests of 8 differ", len(seen))
	}
}

func TestInputKey(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := InputKey(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is no key: %v", err)
	}
	key, err := NewInputKey(dir)
	again, err2 := NewInputKey(dir)
	if err != nil || err2 != nil || len(key) != 32 || string(key) != string(again) {
		t.Errorf("%x, %x: %v, %v", key, again, err, err2)
	}
	if info, err := dir.Stat(InputKeyName); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := dir.WriteFile(InputKeyName, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewInputKey(dir); err == nil {
		t.Error("a short key is used, or replaced")
	}
}

// TestSuccessorKnowsInput: what predecessors have entered is read from the record.
func TestSuccessorKnowsInput(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	for _, p := range []Piece{{From: 0, To: 9}, {From: 5, To: 7}} {
		r.event("input", p.Fields("a")...)
	}
	r.kill()
	r.open(false)
	if diff := cmp.Diff(map[string]uint64{"a": 9}, r.records.Inputs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.event("gap", audit.Text("what", "input"), audit.Number("lost", 4), audit.Text("why", "because"))
	r.end()
	if got := textOf(r.wantGood("with input").Gaps); !strings.HasSuffix(got, "digests of 4 bytes of input are missing: because") {
		t.Errorf("gaps: %s", got)
	}
}
