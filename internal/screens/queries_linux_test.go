package screens

import (
	"strings"
	"testing"
	"time"
)

// queries are what programs ask terminals, with how the answer begins.
func queries() []struct{ ask, answer string } {
	return []struct{ ask, answer string }{
		{"\x1b[c", "\x1b[?"},
		{"\x1b[>c", "\x1b[>"},
		{"\x1b[5n", "\x1b[0n"},
		{"\x1b[6n", "\x1b["},
		{"\x1b[?2004$p", "\x1b[?2004;"},
		{"\x1b[>0q", "\x1bP>|"},
		{"\x1b]11;?\x1b\\", "\x1b]11;rgb:"},
		{"\x1b]10;?\x1b\\", "\x1b]10;rgb:"},
		{"\x1b]4;1;?\x1b\\", "\x1b]4;1;rgb:"},
		{"\x1b[?u", "\x1b[?"},
	}
}

// TestQueries: each is answered exactly once, whether nobody, one or two are attached.
func TestQueries(t *testing.T) {
	t.Parallel()
	for _, clients := range []int{0, 1, 2} {
		t.Run(string(rune('0'+clients)), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.start("q", "/workspace/actor", "ask")
			var seats []*seat
			for range clients {
				s := h.sit(80, 24, "-q", "attach", "q")
				s.raw()
				s.sees("asking")
				seats = append(seats, s)
			}
			h.must("exec", "q", "--", "touch", "/workspace/go")
			// The actor asks one question after the other, and prints what came within a moment.
			if !within(patience, func() bool { return strings.Contains(h.must("logs", "q"), "asked all") }) {
				t.Fatalf("it has not asked all:\n%s", h.must("logs", "q"))
			}
			text := strings.ReplaceAll(h.must("logs", "q"), "\n", "")
			for i, q := range queries() {
				_, rest, _ := strings.Cut(text, "question "+string(rune('0'+i))+" ")
				answer, _, _ := strings.Cut(rest, ".")
				if n := strings.Count(answer, hex(q.answer)); n != 1 {
					t.Errorf("%q was answered %d times: %q", q.ask, n, answer)
				}
			}
			for _, s := range seats {
				s.detach()
			}
		})
	}
}

// actAsk asks each question when the file "go" is there, and prints the answers.
func actAsk() int {
	return withRaw(func(read func(time.Duration) []byte, write func(string)) {
		write("asking\r\n")
		within(patience, func() bool { return exists("/workspace/go") })
		for i, q := range queries() {
			write(q.ask)
			var answer []byte
			within(patience, func() bool { answer = append(answer, read(400*time.Millisecond)...); return len(answer) > 0 })
			write("question " + string(rune('0'+i)) + " " + hex(string(answer)) + ".\r\n")
		}
		write("asked all\r\n")
		within(patience, func() bool { return exists("/workspace/end") })
	})
}
