package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPress(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		at   []time.Duration // of each press
		want []pressed
	}{
		{"once", []time.Duration{0}, []pressed{pressWait}},
		{"twice within", []time.Duration{0, 999 * ms}, []pressed{pressWait, pressStop}},
		{"at the same time", []time.Duration{0, 0}, []pressed{pressWait, pressStop}},
		{"just too late", []time.Duration{0, 1000 * ms}, []pressed{pressWait, pressLate}},
		{"three", []time.Duration{0, 10 * ms, 20 * ms}, []pressed{pressWait, pressStop, pressKill}},
		{"a third one any time later", []time.Duration{0, 10 * ms, time.Hour}, []pressed{pressWait, pressStop, pressKill}},
		{"the clock is set back", []time.Duration{0, -time.Hour}, []pressed{pressWait, pressStop}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)
			p := press{window: time.Second}
			var got []pressed
			for _, d := range test.at {
				got = append(got, p.at(start.Add(d)))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDetach looks at when a session leaves, and for what.
func TestDetach(t *testing.T) {
	tests := []struct {
		name    string
		sig     os.Signal
		follows bool
		after   time.Duration // exactly
		says    string
		code    int // for a session that follows
	}{
		{"Ctrl+C", os.Interrupt, false, 700 * time.Millisecond, "again within 700ms", 130},
		{"SIGTERM", syscall.SIGTERM, false, 0, "", 143},
		{"SIGHUP", syscall.SIGHUP, false, 0, "", 129},
		{"Ctrl+C while following", os.Interrupt, true, 0, "", 130},
		{"SIGTERM while following", syscall.SIGTERM, true, 0, "", 143},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said strings.Builder
				signals := make(chan os.Signal, 1)
				s := &attachment{app: &App{Err: &said}, window: 700 * time.Millisecond, signals: signals, follows: test.follows}
				ctx, cancel := context.WithCancelCause(t.Context())
				start := time.Now()
				signals <- test.sig
				go s.handle(ctx, cancel)
				<-ctx.Done()
				var left *leftError
				if !errors.As(context.Cause(ctx), &left) {
					t.Fatalf("it left because of %v", context.Cause(ctx))
				}
				if got := time.Since(start); got != test.after {
					t.Errorf("it left after %v, want %v", got, test.after)
				}
				if left.code() != test.code {
					t.Errorf("exit code %d, want %d", left.code(), test.code)
				}
				if test.says == "" && said.Len() > 0 || !strings.Contains(said.String(), test.says) {
					t.Errorf("it said %q, want %q", said.String(), test.says)
				}
			})
		})
	}
}
