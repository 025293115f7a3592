package supervisor

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b backoff
	for i, want := range []time.Duration{0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if got, ok := b.next(time.Second); got != want*time.Millisecond || !ok {
			t.Errorf("restart %d: %v, %v, want %v", i, got, ok, want*time.Millisecond)
		}
	}
	if got, ok := b.next(time.Minute); got != 0 || !ok {
		t.Errorf("after a steady supervisor: %v, %v, want to start at once", got, ok)
	}
	early := 1
	for ; ; early++ {
		if _, ok := b.next(0); !ok {
			break
		}
	}
	if early != giveUpAfter-1 { // the steady one died too
		t.Errorf("gave up after %d, want %d", early+1, giveUpAfter)
	}
}

// guard is one whose supervisor is a shell script. What it prints goes to the file that is returned.
func guard(t *testing.T, script string) (*Guard, string) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return &Guard{
		Program: []string{"/bin/sh", "-c", script}, Lock: log, Listener: null, Answer: null,
		Start: []byte("the start\n"), Log: log, Logger: slog.New(slog.DiscardHandler),
	}, log.Name()
}

// TestGuardRestarts lets supervisors end in every way but the right one, and then in that.
func TestGuardRestarts(t *testing.T) {
	g, log := guard(t, `
		read start; echo "$start" >&2
		case $(grep -c . /proc/self/fd/3) in 1) exit 3;; 2) kill -9 $$;; 3) kill -15 $$;; *) exit 0;; esac`)
	if err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if want := strings.Repeat("the start\n", 4); err != nil || string(data) != want {
		t.Errorf("supervisors have read %q (%v), want %q", data, err, want)
	}
}

// TestGuardReapsOrphans lets a supervisor leave a process behind that ends before its successor does.
func TestGuardReapsOrphans(t *testing.T) {
	g, log := guard(t, `sh -c 'sleep 0.05; echo orphan >&2' & [ -s /proc/self/fd/3 ] && { wait; exit 0; }; echo first >&2; exit 1`)
	if err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(log); !strings.HasPrefix(string(data), "first\n") {
		t.Errorf("log: %q", data)
	}
}

// TestGuardWatches lets the first supervisor end in order, and by being killed.
func TestGuardWatches(t *testing.T) {
	for name, test := range map[string]struct {
		last string // what it writes before it ends
		want string // what its successors write
	}{"the run is over": {"\x01", ""}, "killed": {"", "successor\n"}} {
		t.Run(name, func(t *testing.T) {
			g, log := guard(t, "echo successor >&2")
			ours, theirs, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			g.Watch = ours
			if _, err := theirs.WriteString(test.last); err != nil {
				t.Fatal(err)
			}
			if err := theirs.Close(); err != nil {
				t.Fatal(err)
			}
			if err := g.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(log); err != nil || string(got) != test.want {
				t.Errorf("log: %q (%v), want %q", got, err, test.want)
			}
		})
	}
}
