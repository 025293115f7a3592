package journal

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// lastLines is TailOffset as one would write it with all of the text at hand.
func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines[max(0, len(lines)-max(n, 0)):], "")
}

func checkTail(t *testing.T, pieces []piece) {
	t.Helper()
	root := openRoot(t, t.TempDir())
	write(t, root, pieces...)
	r := openReader(t, root)
	for _, stream := range []Stream{AnyStream, Stdout, Stderr} {
		var all strings.Builder
		for _, p := range pieces {
			if stream == AnyStream || p.stream == stream {
				all.WriteString(p.data)
			}
		}
		for n := -1; n <= strings.Count(all.String(), "\n")+2; n++ {
			off, err := r.TailOffset(int64(n), stream)
			if err != nil {
				t.Fatal(err)
			}
			want := lastLines(all.String(), n)
			if got := copied(t, r, CopyOptions{From: off, To: r.End(), Stream: stream}); got != want {
				t.Fatalf("last %d lines of %v of %v: %q, want %q", n, stream, pieces, got, want)
			}
		}
	}
}

func TestTailOffset(t *testing.T) {
	for _, pieces := range [][]piece{
		{{0, Stdout, "\n"}},
		{{0, Stdout, "a"}},
		{{0, Stdout, "a\n"}, {0, Stdout, "b"}},
		{{0, Stdout, "a\n"}, {0, Stdout, "b\n"}},
		{{0, Stdout, "\n\n\n"}, {0, Stderr, "e"}},
		mixed,
	} {
		checkTail(t, pieces)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		var pieces []piece
		for i := range 1 + random.IntN(12) {
			var b strings.Builder
			for range 1 + random.IntN(6) {
				b.WriteByte("ab\n"[random.IntN(3)])
			}
			pieces = append(pieces, piece{i, Stream(1 + random.IntN(2)), b.String()})
		}
		checkTail(t, pieces)
	}
}

func TestTailOffsetAcrossBlocks(t *testing.T) {
	line := strings.Repeat("x", 100_000) + "\n"
	var pieces []piece
	for i := range 12 {
		pieces = append(pieces, piece{i, Stdout, line})
	}
	checkTail(t, append(pieces, piece{20, Stderr, "z\nlast"}))
}

func TestSinceOffset(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed...)
	r := openReader(t, root)
	for s := -1; s <= 11; s++ {
		want := int64(0)
		for _, p := range mixed {
			if p.at >= s {
				break
			}
			want += int64(len(p.data))
		}
		if got, err := r.SinceOffset(second(s)); err != nil || got != want {
			t.Errorf("since second %d: %d, %v, want %d", s, got, err, want)
		}
	}
}
