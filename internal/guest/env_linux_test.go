package guest_test

import (
	"testing"

	"moat/internal/line"
)

// TestInheritedEnvironment starts commands as "moat exec" does: on top of the run's environment.
func TestInheritedEnvironment(t *testing.T) {
	h := serve(t, nil).dial()
	h.send(line.Spawn{Process: line.Main, Args: []string{"/bin/sleep", "1000"}, Env: []string{"A=1", "AB=2", "C=3"}})
	print := []string{"/usr/bin/env"}
	for process, want := range map[uint32]struct {
		spawn line.Spawn
		want  string
	}{
		2: {line.Spawn{Args: print, Inherit: true}, "A=1\nAB=2\nC=3\n"},
		3: {line.Spawn{Args: print, Env: []string{"A=x", "D=4"}, Inherit: true}, "AB=2\nC=3\nA=x\nD=4\n"},
		4: {line.Spawn{Args: print, Env: []string{"D=4"}}, "D=4\n"},
	} {
		want.spawn.Process = process
		h.send(want.spawn)
		if rec := h.finish(process); rec.all.String() != want.want {
			t.Errorf("process %d: %q, want %q", process, rec.all.String(), want.want)
		}
	}
}
