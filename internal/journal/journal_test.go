package journal

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// epoch is when the tests' output began.
var epoch = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// second returns a time n seconds after epoch.
func second(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

// piece is a chunk without its offset.
type piece struct {
	at     int // seconds after epoch
	stream Stream
	data   string
}

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// write appends pieces to the output in root and closes it.
func write(t testing.TB, root *os.Root, pieces ...piece) {
	t.Helper()
	o, cut, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	if cut.Torn() {
		t.Errorf("unexpected cut: %+v", cut)
	}
	appendAll(t, o, pieces...)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendAll(t testing.TB, o *Output, pieces ...piece) {
	t.Helper()
	for _, p := range pieces {
		c := Chunk{Time: second(p.at), Stream: p.stream, Offset: o.Offset(), Data: []byte(p.data)}
		if err := o.Append(c); err != nil {
			t.Fatal(err)
		}
	}
}

func openReader(t testing.TB, root *os.Root) *Reader {
	t.Helper()
	r, err := OpenReader(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// chunks reads what Chunks gives as pieces.
func chunks(t testing.TB, r *Reader, from, to int64) []piece {
	t.Helper()
	var got []piece
	next := max(0, from)
	for c, err := range r.Chunks(from, to) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Offset != next {
			t.Fatalf("chunk at %d, want %d", c.Offset, next)
		}
		next = c.End()
		got = append(got, piece{int(c.Time.Sub(epoch) / time.Second), c.Stream, string(c.Data)})
	}
	return got
}

// copied returns what CopyTo writes into something that is not a file.
func copied(t testing.TB, r *Reader, opts CopyOptions) string {
	t.Helper()
	var b bytes.Buffer
	n, err := r.CopyTo(&b, opts)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) {
		t.Errorf("CopyTo says %d bytes, wrote %d", n, b.Len())
	}
	return b.String()
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(piece{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

var mixed = []piece{
	{0, Stdout, "one\n"},
	{1, Stderr, "\x00\xff\xfe not text \xc3"},
	{1, Stdout, "two"},
	{3, Stderr, "\n"},
	{4, Stdout, "\nthree\r\n"},
	{9, Terminal, "x"},
}

func text(pieces []piece) string {
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.data)
	}
	return b.String()
}

func TestOutputComesBackAsItWas(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed[:3]...)
	write(t, root, mixed[3:]...)
	r := openReader(t, root)
	diff(t, mixed, chunks(t, r, 0, r.End()))
	want := text(mixed)
	if got, err := root.ReadFile(LogName); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v", LogName, got, err)
	}
	if r.Torn().Torn() {
		t.Errorf("torn: %+v", r.Torn())
	}
	for from := range int64(len(want)) + 1 {
		for to := from; to <= int64(len(want))+1; to++ {
			end := min(to, int64(len(want)))
			if got := text(chunks(t, r, from, to)); got != want[from:end] {
				t.Fatalf("Chunks(%d, %d) = %q", from, to, got)
			}
			if got := copied(t, r, CopyOptions{From: from, To: to}); got != want[from:end] {
				t.Fatalf("CopyTo(%d, %d) = %q", from, to, got)
			}
		}
	}
	if got := copied(t, r, CopyOptions{To: r.End(), Stream: Stdout}); got != "one\ntwo\nthree\r\n" {
		t.Errorf("stdout = %q", got)
	}
}

func TestCopyToFiles(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed...)
	r := openReader(t, root)
	want := text(mixed)
	targets := map[string]func(t *testing.T) (w *os.File, read func() string){
		"file":             func(t *testing.T) (*os.File, func() string) { return toFile(t, 0) },
		"file for append":  func(t *testing.T) (*os.File, func() string) { return toFile(t, os.O_APPEND) },
		"pipe":             toPipe,
		"nothing (closed)": nil,
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			if target == nil {
				w, _ := toFile(t, 0)
				w.Close()
				if n, err := r.CopyTo(w, CopyOptions{To: r.End()}); err == nil || n != 0 {
					t.Errorf("%d bytes, %v to a closed file", n, err)
				}
				return
			}
			w, read := target(t)
			if n, err := r.CopyTo(w, CopyOptions{From: 2, To: r.End()}); err != nil || n != r.End()-2 {
				t.Fatalf("%d bytes, %v", n, err)
			}
			w.Close()
			if got := read(); got != want[2:] {
				t.Errorf("got %q", got)
			}
		})
	}
}

func toFile(t *testing.T, flag int) (*os.File, func() string) {
	name := t.TempDir() + "/f"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func toPipe(t *testing.T) (*os.File, func() string) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return w, func() string {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}
