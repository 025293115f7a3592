package soak

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Limits of private memory, in bytes.
const (
	mostBusy = 40 << 20 // supervisor and guest together, whatever is printed
	mostIdle = 12 << 20 // guard, supervisor and guest together
)

// private is the memory that the kernel says belongs to a process alone (smaps_rollup, proc_pid_smaps(5)); 0 if it has ended.
func private(t *testing.T, p proc) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
	if err != nil {
		return 0
	}
	sum := 0
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], "Private_") {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += kib << 10
		}
	}
	return sum
}

// memory is what the processes of the world with these roles have to themselves, and how many there are.
func (w *world) memory(roles ...role) (sum, n int) {
	w.t.Helper()
	for _, p := range w.procs() {
		for _, r := range roles {
			if p.role == r {
				sum += private(w.t, p)
				n++
			}
		}
	}
	return sum, n
}

// TestMemoryBusy watches the memory of a run that prints as fast as it can, to a client that takes it.
func TestMemoryBusy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary user may not look into a guest")
	}
	size := times(100_000_000, 500_000_000)
	w := newWorld(t)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c := w.run("-n", "busy", "--", "sh", "-c", fmt.Sprintf("yes 0123456789012345678901234567890123456789 | head -c %d", size))
	c.cmd.Stdout = null
	c.start()
	most, looks := 0, 0
	for !c.endsWithin(20 * time.Millisecond) {
		if sum, n := w.memory(roleSupervisor, roleGuest); n == 2 {
			most = max(most, sum)
			looks++
		}
	}
	c.want(0)
	if looks == 0 {
		t.Fatal("nobody looked")
	}
	t.Logf("supervisor and guest had at most %.1f MiB to themselves (%d looks)", float64(most)/(1<<20), looks)
	if most > mostBusy {
		t.Errorf("supervisor and guest had %d bytes to themselves, at most %d are allowed", most, mostBusy)
	}
}

// TestMemoryIdle looks at the memory of a run that does nothing.
func TestMemoryIdle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary user may not look into a guest")
	}
	w := newWorld(t)
	id := strings.TrimSpace(w.run("-d", "--", "sleep", "1000").want(0).out.String())
	sum, n := w.memory(roleGuard, roleSupervisor, roleGuest)
	if n != 3 {
		t.Fatalf("there are %d processes, want 3: %v", n, w.procs())
	}
	t.Logf("guard, supervisor and guest have %.1f MiB to themselves", float64(sum)/(1<<20))
	if sum > mostIdle {
		t.Errorf("guard, supervisor and guest have %d bytes to themselves, at most %d are allowed", sum, mostIdle)
	}
	w.command("stop", "--time", "0", id).want(0)
}
