package session

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/journal"
	"moat/internal/vt"
)

var begun = time.Unix(1_700_000_000, 0).UTC()

// tape records steps, sizes and output, one second apart, and returns the writer and a reader's tape of them.
func tape(t *testing.T, steps ...any) (*os.Root, *journal.Output, iter.Seq2[journal.Step, error]) {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := journal.OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close(); dir.Close() })
	for i, step := range steps {
		add(t, o, begun.Add(time.Duration(i)*time.Second), step)
	}
	r, err := journal.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return dir, o, r.Tape(0)
}

func add(t *testing.T, o *journal.Output, at time.Time, step any) {
	t.Helper()
	var err error
	switch v := step.(type) {
	case journal.Size:
		err = o.Resize(at, v)
	case string:
		err = o.Append(journal.Chunk{Time: at, Stream: journal.Terminal, Offset: o.Offset(), Data: []byte(v)})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCast(t *testing.T) {
	code, ended := 3, begun.Add(9*time.Second)
	cast := Cast{Title: "t", Command: "c", Term: "xterm", Started: begun, Ended: &ended, Exit: &code}
	_, _, steps := tape(t, journal.Size{Rows: 5, Cols: 10}, "a\xe2\x82", "\xac\r\n", journal.Size{Rows: 6, Cols: 11}, "\xff\"\x1b[31m")
	for version, want := range map[CastVersion][]string{
		CastV2: {
			`{"command":"c","env":{"TERM":"xterm"},"height":5,"timestamp":1700000000,"title":"t","version":2,"width":10}`,
			`[1.000000,"o","a"]`, `[2.000000,"o","€\r\n"]`, `[3.000000,"r","11x6"]`, `[4.000000,"o","` + "\ufffd" + `\"\u001b[31m"]`, `[9.000000,"m","exit 3"]`,
		},
		CastV3: {
			`{"command":"c","term":{"cols":10,"rows":5,"type":"xterm"},"timestamp":1700000000,"title":"t","version":3}`,
			`[1.000000,"o","a"]`, `[1.000000,"o","€\r\n"]`, `[1.000000,"r","11x6"]`, `[1.000000,"o","` + "\ufffd" + `\"\u001b[31m"]`, `[5.000000,"x","3"]`,
		},
	} {
		var out strings.Builder
		cast.Version = version
		if err := WriteCast(&out, cast, steps); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
			got = append(got, strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `\ufffd`, "\ufffd"))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("version %d: %s", version, d)
		}
	}
}

func TestLines(t *testing.T) {
	var many strings.Builder
	var want []string
	for i := range 30_000 { // more than the model keeps
		fmt.Fprintf(&many, "%d\r\n", i)
		want = append(want, fmt.Sprint(i))
	}
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		steps []any
		want  []string
	}{
		"nothing":         {nil, nil},
		"many":            {[]any{journal.Size{Rows: 3, Cols: 20}, many.String()}, want},
		"a wrapped line":  {[]any{journal.Size{Rows: 3, Cols: 20}, long + "\r\nb\r\n\r\n"}, []string{long, "b"}},
		"a progress line": {[]any{"10%\r20%\r\x1b[K100%\r\n"}, []string{"100%"}},
		"colours":         {[]any{"\x1b[31mred\x1b[m \x1b]8;;http://x\x07link\x1b]8;;\x07"}, []string{"red link"}},
	} {
		_, _, steps := tape(t, c.steps...)
		var got []string
		for line, err := range Lines(steps) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(line.Text))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestScreen follows a tape that grows: repaints are of what is recorded, questions are answered once, bells ring.
func TestScreen(t *testing.T) {
	dir, o, _ := tape(t, journal.Size{Rows: 4, Cols: 20}, "old\x1b[6n\x07")
	answers := make(chan string, 9)
	s := NewScreen(func(b []byte) { answers <- string(b) }, slog.Default())
	done := make(chan error, 1)
	live := o.Position()
	go func() { done <- s.Follow(t.Context(), dir, o, live) }()

	repaint := func(seen Seen) (*vt.Terminal, Repaint) {
		rp, err := s.Repaint(t.Context(), nil, o.Position(), seen)
		if err != nil {
			t.Fatal(err)
		}
		term := vt.New(20, 4, vt.Options{})
		term.Write(rp.Data)
		return term, rp
	}
	term, rp := repaint(Seen{})
	if text, _ := term.AppendLine(nil, 0); string(text) != "old" || rp.Offset != o.Offset() || rp.Lines != 0 {
		t.Fatalf("%q, %+v", text, rp)
	}
	if a := s.Attention(begun); !a.Since.IsZero() {
		t.Fatalf("an old bell rings: %+v", a)
	}
	add(t, o, time.Now(), "\r\n1\r\n2\r\n3\r\n4\r\n5\x1b[6n\x07")
	if got := <-answers; got != "\x1b[4;2R" {
		t.Fatalf("answer %q", got)
	}
	for _, test := range []struct {
		seen Seen
		kept int
	}{{Seen{}, 2}, {Seen{Lines: 1}, 1}, {All(), 0}, {Seen{Offset: 3}, 2}, {Seen{Offset: o.Offset()}, 0}} {
		term, rp = repaint(test.seen)
		kept, _ := term.ScrollbackLen()
		if text, _ := term.AppendLine(nil, 3); string(text) != "5" || rp.Lines != 2 || kept != test.kept {
			t.Errorf("%+v: %q, %+v, %d lines of scrollback", test.seen, text, rp.Lines, kept)
		}
	}
	if n, err := s.LinesAt(t.Context(), o.Offset()); n != 2 || err != nil {
		t.Errorf("%d lines have scrolled off, %v", n, err)
	}
	if a := s.Attention(time.Now()); a.Why != "bell" {
		t.Fatalf("%+v", a)
	}
	s.Typed(time.Now())
	if a := s.Attention(time.Now()); !a.Since.IsZero() {
		t.Fatalf("%+v after typing", a)
	}
	add(t, o, time.Now(), "\r\n> ")
	if _, err := s.Repaint(t.Context(), nil, o.Position(), Seen{}); err != nil {
		t.Fatal(err)
	}
	if a := s.Attention(time.Now()); !a.Since.IsZero() {
		t.Fatalf("%+v right after output", a)
	}
	if a := s.Attention(time.Now().Add(time.Hour)); a.Why != "silent" {
		t.Fatalf("%+v an hour later at a prompt", a)
	}
	mine, other := new(int), new(int)
	asks := func(what string, answered bool) {
		t.Helper()
		add(t, o, time.Now(), "\x1b[6n")
		add(t, o, time.Now(), "\x1b[m") // what one step is answered comes before the next one is taken up
		if _, err := s.Repaint(t.Context(), other, o.Position(), Seen{}); err != nil {
			t.Fatal(err)
		}
		if got := len(answers) > 0; got != answered {
			t.Fatalf("%s: answered %v, want %v", what, got, answered)
		}
		if answered {
			<-answers
		}
	}
	s.Answer(o.Offset(), mine)
	asks("before the heir was shown anything", true)
	if _, err := s.Repaint(t.Context(), mine, o.Position(), Seen{}); err != nil {
		t.Fatal(err)
	}
	asks("while the heir's terminal answers", false)
	s.Answer(o.Offset(), nil)
	asks("when it has left", true)
	s.Answer(o.Offset(), mine)
	s.Hush(o.Offset())
	asks("while another terminal answers", false)
	s.Answer(o.Offset(), mine)
	asks("before the heir is shown anything again", true)
	s.Hush(o.Offset() + 4)
	asks("what was asked before a terminal answered", true)
	asks("and after", false)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(answers) != 0 {
		t.Fatalf("answered though a terminal does: %q", <-answers)
	}
}

func TestMarks(t *testing.T) {
	var m marks
	if n := m.lines(5); n != 0 {
		t.Errorf("%d lines before the first", n)
	}
	for i := range int64(3 * maxMarks) {
		m.add(10*i, uint64(i/2))
	}
	newest := int64(3*maxMarks - 1)
	for _, test := range []struct {
		offset int64
		want   uint64
	}{{10 * newest, uint64(newest / 2)}, {10*newest - 10, uint64(newest / 2)}, {10*newest - 15, uint64(newest/2 - 1)}, {10, math.MaxUint64}} {
		if got := m.lines(test.offset); got != test.want {
			t.Errorf("at %d there were %d lines, want %d", test.offset, got, test.want)
		}
	}
	if len(m.list) > maxMarks {
		t.Errorf("%d marks are kept", len(m.list))
	}
}

func TestSizes(t *testing.T) {
	size := func(rows, cols uint16) journal.Size { return journal.Size{Rows: rows, Cols: cols} }
	for _, c := range []struct {
		policy Policy
		do     func(*Sizes)
		want   journal.Size
		leader any
	}{
		{Latest, func(*Sizes) {}, journal.Size{}, nil},
		{Latest, func(z *Sizes) { z.Active(1, size(24, 80)); z.Active(2, size(50, 100)) }, size(50, 100), 2},
		{Latest, func(z *Sizes) { z.Active(1, size(24, 80)); z.Active(2, size(50, 100)); z.Active(1, journal.Size{}) }, size(24, 80), 1},
		{Latest, func(z *Sizes) { z.Active(1, size(24, 80)); z.Active(2, size(50, 100)); z.Left(2) }, size(24, 80), 1},
		{Latest, func(z *Sizes) { z.Active(1, size(24, 80)); z.Active(2, journal.Size{}) }, size(24, 80), 2},
		{Smallest, func(z *Sizes) { z.Active(1, size(24, 100)); z.Active(2, size(50, 80)) }, size(24, 80), 2},
	} {
		z := NewSizes(c.policy)
		c.do(z)
		if got, ok := z.Want(); got != c.want || ok != (c.want != journal.Size{}) || z.Leader() != c.leader {
			t.Errorf("size %v, leader %v; want %v, %v", got, z.Leader(), c.want, c.leader)
		}
	}
}

// TestCheckpoint saves the model of much output and lets a successor begin there.
func TestCheckpoint(t *testing.T) {
	dir, o, _ := tape(t, journal.Size{Rows: 5, Cols: 40})
	line := strings.Repeat("x", 30)
	for i := range checkpointEvery/journal.MaxChunk + 2 {
		var b strings.Builder
		for n := 0; b.Len() < journal.MaxChunk-100; n++ {
			fmt.Fprintf(&b, "%d %d %s\r\n", i, n, line)
		}
		add(t, o, begun, b.String())
	}
	follow := func() (*Screen, Repaint) {
		s := NewScreen(func([]byte) {}, slog.Default())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Follow(ctx, dir, o, o.Position()) }()
		rp, err := s.Repaint(t.Context(), nil, o.Position(), Seen{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		return s, rp
	}
	first, want := follow()
	if first.before != 0 {
		t.Fatal("the first one began at a checkpoint")
	}
	second, got := follow()
	if second.before == 0 {
		t.Fatal("the successor read the whole tape")
	}
	if d := cmp.Diff(want.Lines, got.Lines); d != "" || want.Offset != got.Offset || string(want.Data) != string(got.Data) {
		t.Fatalf("another repaint: %d and %d bytes, %s", len(want.Data), len(got.Data), d)
	}
	for i, damage := range []string{"", "x", "\xff\xff\xff\xff{}", "\x00\x00\x00\x02{}"} {
		if err := dir.WriteFile(checkpointFile, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, got := follow(); string(want.Data) != string(got.Data) || s.before != 0 {
			t.Errorf("damage %d: another repaint", i)
		}
	}
}
