package journal

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTape records sizes between output and reads them back in their places, over a restart of the writer.
func TestTape(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	at := time.Unix(1_700_000_000, 0).UTC()
	open := func() *Output {
		o, cut, err := OpenOutput(dir)
		if err != nil || cut.Torn() {
			t.Fatalf("%+v, %v", cut, err)
		}
		return o
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o := open()
	must(o.Resize(at, Size{Rows: 24, Cols: 80}))
	must(o.Append(Chunk{Time: at, Stream: Terminal, Offset: 0, Data: []byte("one")}))
	must(o.Sync())
	must(o.Resize(at.Add(time.Second), Size{Rows: 65535, Cols: 1}))
	must(o.Close())
	o = open()
	must(o.Append(Chunk{Time: at.Add(2 * time.Second), Stream: Terminal, Offset: 3, Data: []byte("two")}))
	r, err := OpenReader(dir)
	must(err)
	defer r.Close()
	type step struct {
		Data string
		Size *Size
		Time time.Time
	}
	var got []step
	next := int64(0)
	for s, err := range r.Tape(0) {
		must(err)
		got, next = append(got, step{string(s.Data), s.Size, s.Time}), s.Next
	}
	want := []step{
		{"", &Size{Rows: 24, Cols: 80}, at}, {"one", nil, at}, {"", &Size{Rows: 65535, Cols: 1}, at.Add(time.Second)}, {"two", nil, at.Add(2 * time.Second)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	for c, err := range r.Chunks(0, r.End()) {
		must(err)
		if len(c.Data) == 0 {
			t.Fatal("a size came as a chunk")
		}
	}

	waited := make(chan error, 1)
	go func() { waited <- o.WaitTape(t.Context(), next) }()
	must(o.Resize(at, Size{Rows: 1, Cols: 2}))
	must(<-waited)
	if _, err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	for s, err := range r.Tape(next) {
		must(err)
		if s.Size == nil || *s.Size != (Size{Rows: 1, Cols: 2}) || !s.Time.Equal(at.Add(2*time.Second)) {
			t.Fatalf("after a refresh: %+v", s)
		}
		next = s.Next
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.WaitTape(ctx, next+10); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(o.Close())
	if err := o.WaitTape(t.Context(), next+10); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}

	// A writer that comes later knows where the steps end, whatever checkpoints follow: whoever has seen them all waits.
	for range 2 {
		o = open()
		if got := o.Position(); got != next {
			t.Fatalf("the tape goes on at %d, want %d", got, next)
		}
		if err := o.WaitTape(ctx, next); !errors.Is(err, context.Canceled) {
			t.Fatalf("there is no further step, and yet the waiting ends with %v", err)
		}
		must(o.Close())
	}
}
