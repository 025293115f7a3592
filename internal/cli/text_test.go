package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"moat/internal/config"
	"moat/internal/run"
	"moat/internal/sandbox"
)

func TestExitCode(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("something"), 1},
		{&run.NotFoundError{Ref: "x"}, 1},
		{&run.StateError{Verb: run.VerbAttach}, 1},
		{&exitError{code: 7}, 7},
		{&config.Error{File: "agent.yaml"}, 2},
		{&run.NameError{Name: "X"}, 2},
		{&run.NameTakenError{Name: "x"}, 125},
		{&sandbox.Unavailable{Runtime: "native"}, 125},
		{context.Canceled, 130},
		{&leftError{syscall.SIGINT}, 130},
		{&leftError{syscall.SIGHUP}, 129},
	}
	for _, test := range tests {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: code %d, want %d", test.err, got, test.want)
		}
		if test.err == nil {
			continue
		}
		if got := exitCode(fmt.Errorf("attempt: %w", test.err)); got != test.want {
			t.Errorf("%v, wrapped: code %d, want %d", test.err, got, test.want)
		}
	}
}

// TestShellWord asks a shell what it makes of the words.
func TestShellWord(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell to ask: ", err)
	}
	for _, word := range []string{"make", "", " ", "a b", "it's", "''", `"$HOME"`, "`id`", "~root", "*", "a\nb", "\\", "é", "--x=1", "!!", "#"} {
		out, err := exec.Command(sh, "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is written %s, which a shell reads as %q (%v)", word, shellWord(word), out, err)
		}
	}
}

func TestSeconds(t *testing.T) {
	good := map[string]time.Duration{"10": 10 * time.Second, "0": 0, "0.5": 500 * time.Millisecond, "500ms": 500 * time.Millisecond, "1m": time.Minute}
	for text, want := range good {
		if got, err := seconds(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-1", "-5s", "1e99", "1 s"} {
		if got, err := seconds(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59900 * time.Millisecond: "59s", time.Minute: "1m", 119 * time.Minute: "1h", 24 * time.Hour: "1d", 1000 * time.Hour: "41d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{
		"": "-", "short": "short", "exactly 10": "exactly 10", "more than 10": "more than…", "a\tb\nc": "a b c",
		"\x1b[31m": "\ufffd[31m", "é\u009b1234567": "é\ufffd1234567", "\xff": "\ufffd", "ääääääääääää": "äääääääää…",
	} {
		if got := cut(text, 10); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 runs", 1: "1 run", 2: "2 runs"} {
		if got := count(n, "run"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
