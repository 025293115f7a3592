package journal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"
)

func openOutput(t testing.TB, root *os.Root) *Output {
	t.Helper()
	o, _, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func TestAppendRefuses(t *testing.T) {
	root := openRoot(t, t.TempDir())
	o := openOutput(t, root)
	appendAll(t, o, piece{0, Stdout, "abc"})
	tests := map[string]struct {
		chunk Chunk
		want  error
	}{
		"what it has":       {Chunk{Stream: Stdout, Offset: 0, Data: []byte("abc")}, ErrOffset},
		"what leaves a gap": {Chunk{Stream: Stdout, Offset: 4, Data: []byte("x")}, ErrOffset},
		"no stream":         {Chunk{Offset: 3, Data: []byte("x")}, ErrInvalid},
		"too much":          {Chunk{Stream: Stdout, Offset: 3, Data: make([]byte, MaxChunk+1)}, ErrInvalid},
		"nothing":           {Chunk{Stream: Stdout, Offset: 3}, nil},
	}
	for name, test := range tests {
		if err := o.Append(test.chunk); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Append(Chunk{Stream: Stdout, Offset: 3, Data: make([]byte, MaxChunk)}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(o.Close(), o.Close()); err != nil {
		t.Error(err)
	}
	if err := o.Append(Chunk{Stream: Stdout, Offset: o.Offset(), Data: []byte("x")}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if r := openReader(t, root); r.End() != 3+MaxChunk || r.Torn().Torn() {
		t.Errorf("reader: end %d, %+v", r.End(), r.Torn())
	}
}

func TestTimesNeverGoBackwards(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, piece{50, Stdout, "a"}, piece{10, Stdout, "b"})
	write(t, root, piece{-1 << 32, Stdout, "c"}, piece{49, Stdout, "d"}, piece{51, Stdout, "e"})
	r := openReader(t, root)
	want := []piece{{50, Stdout, "a"}, {50, Stdout, "b"}, {50, Stdout, "c"}, {50, Stdout, "d"}, {51, Stdout, "e"}}
	diff(t, want, chunks(t, r, 0, r.End()))
	for name, at := range map[string]time.Time{"no time": {}, "a time out of range": epoch.AddDate(1000, 0, 0)} {
		if got := nanoseconds(at); got != 0 {
			t.Errorf("%s is %d", name, got)
		}
	}
	for s, want := range map[int]int64{10: 0, 50: 0, 51: 4, 52: 5} {
		if got, err := r.SinceOffset(second(s)); err != nil || got != want {
			t.Errorf("since %d: %d, %v, want %d", s, got, err, want)
		}
	}
}

func TestWait(t *testing.T) {
	o := openOutput(t, openRoot(t, t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error)
	go func() {
		_, err := o.Wait(ctx, 0)
		cancelled <- err
	}()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	const followers, pieces = 8, 200
	var wait sync.WaitGroup
	for range followers {
		wait.Go(func() {
			for seen := int64(0); ; {
				end, err := o.Wait(t.Context(), seen)
				if errors.Is(err, os.ErrClosed) && end == seen && seen == pieces {
					return
				}
				if err != nil || end <= seen {
					t.Errorf("Wait(%d) = %d, %v", seen, end, err)
					return
				}
				seen = end
			}
		})
	}
	for range pieces {
		appendAll(t, o, piece{0, Stdout, "x"})
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	wait.Wait()
}

func TestReadersWhileWriting(t *testing.T) {
	root := openRoot(t, t.TempDir())
	o := openOutput(t, root)
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			r, err := OpenReader(root)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			var seen int64
			for {
				_, waitErr := o.Wait(t.Context(), seen)
				end, err := r.Refresh()
				if err != nil {
					t.Error(err)
					return
				}
				for c, err := range r.Chunks(seen, end) {
					if err != nil || c.Offset != seen || !bytes.Equal(c.Data, pattern(c.Offset, len(c.Data))) {
						t.Errorf("chunk at %d, seen %d, %v", c.Offset, seen, err)
						return
					}
					seen = c.End()
				}
				if waitErr != nil && seen == o.Offset() {
					return
				}
			}
		})
	}
	wait.Go(func() { // others come and go
		for o.Offset() < 1<<20 {
			r, err := OpenReader(root)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := r.TailOffset(3, Stdout); err != nil {
				t.Error(err)
			}
			r.Close()
		}
	})
	for o.Offset() < 2<<20 {
		off := o.Offset()
		if err := o.Append(Chunk{Time: time.Now(), Stream: Stdout, Offset: off, Data: pattern(off, chunkSize(off))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	wait.Wait()
}

// pattern returns n bytes of a text in which each byte follows from its offset.
func pattern(off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := off + int64(i)
		b[i] = byte(at ^ at>>8 ^ at>>16)
	}
	return b
}

// chunkSize returns how long the chunk at off is: mostly short, sometimes long.
func chunkSize(off int64) int {
	h := uint64(off) * 0x9e3779b97f4a7c15 >> 40
	if h%16 == 0 {
		return 1 + int(h%100_000)
	}
	return 1 + int(h%200)
}

func TestLongLineInChunks(t *testing.T) {
	root := openRoot(t, t.TempDir())
	o := openOutput(t, root)
	block := bytes.Repeat([]byte{0xff}, MaxChunk)
	appendAll(t, o, piece{0, Stdout, "before\n"})
	for range 100 {
		if err := o.Append(Chunk{Time: second(1), Stream: Stdout, Offset: o.Offset(), Data: block}); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, o, piece{2, Stdout, "\nafter\n"})
	r := openReader(t, root)
	for n, want := range map[int64]int64{1: r.End() - 6, 2: 7, 3: 0} {
		for _, stream := range []Stream{AnyStream, Stdout} {
			if got, err := r.TailOffset(n, stream); err != nil || got != want {
				t.Errorf("last %d lines of %v: %d, %v, want %d", n, stream, got, err, want)
			}
		}
	}
	var sum countingWriter
	sum.w = writerFunc(func(b []byte) (int, error) { return len(b), nil })
	if n, err := r.CopyTo(&sum, CopyOptions{To: r.End(), Timestamps: true}); err != nil || n != sum.n || n != r.End()+3*int64(len(StampLayout)) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
