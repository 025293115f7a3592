package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTerminalKills kills supervisors, and sometimes their guards too, while they read a terminal on which a command
// prints as fast as it can. Each byte must be on record once, whatever they were doing with it.
func TestTerminalKills(t *testing.T) {
	t.Parallel()
	seed, _ := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	for n := range times(2, 60) {
		killed := w.killReaders(r)
		if killed == 0 && !t.Failed() {
			t.Logf("run %d had ended before anybody was killed", n)
		}
	}
	if t.Failed() {
		t.Logf("repeat it with MOAT_SOAK_SEED=%d", seed)
	}
}

// terminalLines are some 16 MB: a second or two, and several kills.
const terminalLines = 1_600_000

func (w *world) killReaders(r *rand.Rand) (killed int) {
	w.t.Helper()
	script := fmt.Sprintf("stty -opost; exec /workspace/%s flood %d", talkerName, terminalLines)
	id := strings.TrimSpace(w.run("-d", "-it", "--", "sh", "-c", script).want(0).out.String())
	wait := w.command("wait", id).start()
	for !wait.endsWithin(time.Duration(20+r.IntN(200)) * time.Millisecond) {
		roles := []role{roleSupervisor}
		if r.IntN(8) == 0 {
			roles = append(roles, roleGuard)
		}
		killed += w.killRoles(roles...)
		if killed > 12 {
			break
		}
	}
	wait.want(exitTalked)
	if got := lines(w.t, "record of the terminal", 'o', w.command("logs", "--raw", id).want(0).out.Bytes(), false); got != terminalLines {
		w.t.Errorf("%d lines are on record, want %d; %d were killed", got, terminalLines, killed)
	}
	w.t.Logf("%d killed", killed)
	w.command("destroy", id).want(0)
	return killed
}

// TestQuietTerminal kills the supervisor of a run whose terminal nobody uses. Its successor has nothing to do but to answer
// what the command asks the terminal, and ends with the run.
func TestQuietTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := strings.TrimSpace(w.run("-d", "-it", "--", "sh", "-c", askLater).want(0).out.String())
	index := filepath.Join(w.home, "runs", id, "output.idx")
	said := func(what string) bool {
		return bytes.Contains(w.command("logs", "--raw", id).want(0).out.Bytes(), []byte(what))
	}
	w.must("a checkpoint at the end of the record", func() bool {
		data, err := os.ReadFile(index)
		const kind, record, checkpoint = 20, 32, 2 // docs/formats.md
		return err == nil && len(data) > 2*record && data[len(data)-record+kind] == checkpoint && said("ready")
	})
	for _, roles := range [][]role{{roleSupervisor}, {roleSupervisor, roleGuard}} {
		w.killRoles(roles...)
		w.command("exec", id, "--", "true").want(0) // by the successor
	}
	w.command("exec", id, "--", "touch", "/workspace/ask").want(0)
	w.must("an answer", func() bool { return said("answered") })
	w.command("stop", "--time", "0", id).want(0)
	w.nothingLeft(id)
}

// askLater asks the terminal where the cursor is, and waits for the answer, of at least six bytes.
const askLater = `stty raw -echo; echo ready; until [ -e ask ]; do sleep 0.1; done; printf '\033[6n'; head -c 6 >/dev/null; echo answered; exec sleep 1000`
