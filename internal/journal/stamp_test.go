package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTimestamps(t *testing.T) {
	tests := map[string]struct {
		pieces []piece
		want   string // {n} is the stamp of second n
	}{
		"one line":                  {[]piece{{1, Stdout, "a\n"}}, "{1}a\n"},
		"no newline at the end":     {[]piece{{1, Stdout, "a\nb"}}, "{1}a\n{1}b"},
		"empty lines":               {[]piece{{1, Stdout, "\n\n"}, {2, Stdout, "\n"}}, "{1}\n{1}\n{2}\n"},
		"a line over three chunks":  {[]piece{{1, Stdout, "a"}, {2, Stdout, "b"}, {3, Stdout, "c\nd\n"}}, "{1}abc\n{3}d\n"},
		"newline on its own":        {[]piece{{1, Stdout, "a"}, {2, Stdout, "\n"}, {3, Stdout, "b\n"}}, "{1}a\n{3}b\n"},
		"streams take turns":        {[]piece{{1, Stdout, "a\n"}, {2, Stderr, "E\n"}, {3, Stdout, "b\n"}}, "{1}a\n{2}E\n{3}b\n"},
		"an error inside of a line": {[]piece{{1, Stdout, "a"}, {2, Stderr, "E\n"}, {3, Stdout, "b\n"}}, "{1}ab\n{2}E\n"},
		"both unfinished": {
			[]piece{{1, Stdout, "a"}, {2, Stderr, "E"}, {3, Stdout, "b\nc"}, {4, Stderr, "F\n"}, {5, Stdout, "d\n"}},
			"{1}ab\n{2}EF\n{3}cd\n",
		},
		"unfinished for ever": {
			[]piece{{1, Stdout, "? "}, {2, Stderr, "E\n"}, {3, Stderr, "F\n"}},
			"{1}? \n{2}E\n{3}F\n",
		},
		"three streams": {
			[]piece{{1, Stdout, "a"}, {2, Stderr, "E"}, {3, Terminal, "T\n"}, {4, Stdout, "\n"}, {5, Stderr, "\n"}},
			"{1}a\n{2}E\n{3}T\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t, t.TempDir())
			write(t, root, test.pieces...)
			r := openReader(t, root)
			want := test.want
			for n := range 6 {
				want = strings.ReplaceAll(want, fmt.Sprintf("{%d}", n), second(n).Format("2006-01-02T15:04:05.000000000Z "))
			}
			if got := copied(t, r, CopyOptions{To: r.End(), Timestamps: true}); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestStamperGoesOnAfterFlush(t *testing.T) {
	var b bytes.Buffer
	s := NewStamper(&b)
	for _, p := range []piece{{1, Stdout, "? "}, {2, Stderr, "E\n"}, {0, 0, ""}, {3, Stdout, "yes\n"}, {4, Stdout, "b\n"}} {
		if p.data == "" {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Write(Chunk{Time: second(p.at), Stream: p.stream, Data: []byte(p.data)}); err != nil {
			t.Fatal(err)
		}
	}
	stamp := func(n int) string { return second(n).Format(time.RFC3339) }
	want := fmt.Sprintf("%s ? \n%s E\n%s yes\n%s b\n", stamp(1), stamp(2), stamp(1), stamp(4))
	if got := strings.ReplaceAll(b.String(), ".000000000Z", "Z"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestStamperKeepsEveryStream strips the stamps: each stream's bytes must be there, and each line begin with a stamp.
func TestStamperKeepsEveryStream(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var b bytes.Buffer
		s := NewStamper(&b)
		want := map[Stream]string{}
		for i := range random.IntN(40) {
			c := Chunk{Time: second(i), Stream: Stream(1 + random.IntN(2))}
			letter := "\x00sE"[c.Stream]
			for range 1 + random.IntN(5) {
				c.Data = append(c.Data, []byte{letter, letter, '\n'}[random.IntN(3)])
			}
			want[c.Stream] += string(c.Data)
			if err := s.Write(c); err != nil {
				t.Fatal(err)
			}
			clear(c.Data) // the caller's again
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if _, err := time.Parse(StampLayout, line[:len(StampLayout)]); err != nil {
				t.Fatal(err)
			}
			if rest := line[len(StampLayout):]; strings.Contains(rest, "s") && strings.Contains(rest, "E") {
				t.Fatalf("two streams in one line: %q", rest)
			}
		}
		for stream, letter := range map[Stream]string{Stdout: "s", Stderr: "E"} {
			if got := strings.Count(b.String(), letter); got != strings.Count(want[stream], letter) {
				t.Errorf("%d bytes of %v, want %q", got, stream, want[stream])
			}
		}
	}
}

func TestStamperKeepsBackOnlySoMuch(t *testing.T) {
	var b bytes.Buffer
	s := NewStamper(&b)
	if err := s.Write(Chunk{Stream: Stdout, Data: []byte("prompt")}); err != nil {
		t.Fatal(err)
	}
	line := []byte("e\n")
	const lines = 100_000
	for range lines {
		if err := s.Write(Chunk{Stream: Stderr, Data: line}); err != nil {
			t.Fatal(err)
		}
		if s.size > maxHeld {
			t.Fatalf("%d bytes are kept back", s.size)
		}
	}
	if got := strings.Count(b.String(), "e\n"); got != lines {
		t.Errorf("%d lines of %d are out", got, lines)
	}
}
