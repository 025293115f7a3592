package bench

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// idleAfter is how long a run must have been left alone to count as idle.
const idleAfter = 3 * time.Second

// measureIdle weighs the processes of a run that nobody is attached to and whose command does nothing.
func measureIdle(t *testing.T, b *bench) {
	if b.report.Root {
		id := b.start(t, "sleep", "1000")
		time.Sleep(idleAfter) // sleep: idleness is the passing of time
		pids := parts(t, id)
		var sum int64
		for _, part := range slices.Sorted(maps.Keys(pids)) {
			n, err := private(pids[part])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
			b.add(figure{Name: "idle, private: " + part, Unit: megabytes, N: 1, Moat: inMegabytes(n), Min: inMegabytes(n)})
		}
		b.add(figure{Name: "idle, private: together", Unit: megabytes, N: 1, Moat: inMegabytes(sum), Min: inMegabytes(sum), Limit: 12})
		b.destroy(t, id)
		return
	}
	b.missing("memory: that of a guest is for root to read")
}

// start starts a run in the background and returns its id.
func (b *bench) start(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(b.output(t, append([]string{"run", "-d", "--"}, args...)...))
}

// output runs a moat command and returns what it prints.
func (b *bench) output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.moat, args...)
	cmd.Env, cmd.Dir = b.env, b.dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("moat %q: %v\n%s", args, err, exit.Stderr)
		}
		t.Fatalf("moat %q: %v", args, err)
	}
	return string(out)
}

func (b *bench) destroy(t *testing.T, id string) {
	t.Helper()
	b.output(t, "destroy", "-f", id)
	settle(t)
}

// sampleEvery is the time between two looks at a process's memory.
const sampleEvery = 20 * time.Millisecond

// watch looks at what weigh says of the processes until ctx ends, and returns the most that it said of all together.
// A process that has ended weighs nothing.
func watch(ctx context.Context, pids []int, weigh func(pid int) (int64, error)) (int64, error) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var most int64
	for {
		var sum int64
		for _, pid := range pids {
			n, err := weigh(pid)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
				return most, err
			}
			sum += n
		}
		most = max(most, sum)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return most, nil
		}
	}
}
