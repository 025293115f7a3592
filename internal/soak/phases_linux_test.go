package soak

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
)

func killAtStart(tr *trial) {
	c := tr.talker(nil, "steady", "40", "5ms").start()
	tr.kill()
	if tr.spared {
		c.wait()
	}
	run, ok := tr.appears()
	if !ok {
		if tr.spared && c.code() != 125 {
			tr.t.Errorf("there is no run, but the client ended with %d: %s", c.code(), c.err.String())
		}
		return
	}
	tr.command("wait", run.ID).wait()
	run, _ = tr.find(tr.name)
	complete := run.State == "exited"
	guarded := len(tr.roles) == 1 && !tr.dead && tr.roles[0] != roleGuard && tr.roles[0] != roleSupervisor // which starts its guard
	if !complete && guarded {
		tr.t.Errorf("a run that lost its %v while it started should go on: %v", tr.roles, run)
	}
	if (slices.Contains(tr.roles, roleGuard) || slices.Contains(tr.roles, roleSupervisor)) && tr.spared && c.code() == 125 {
		tr.spared = false // it was left without an answer and could not know
	}
	tr.shown(c, run, 40, complete, true)
}

// begun waits for the first line that the client shows.
func (tr *trial) begun(c *command) {
	tr.t.Helper()
	tr.must("the first line of output", func() bool { return len(c.out.Bytes()) > 0 || c.ended() })
}

func killSteady(tr *trial) {
	c := tr.talker(nil, "steady", "100", "5ms").start()
	tr.begun(c)
	tr.kill()
	tr.whole(c, 100, true)
}

func killFlood(tr *trial) {
	const n = 100_000
	c := tr.talker(nil, "flood", fmt.Sprint(n)).start()
	tr.begun(c)
	tr.kill()
	tr.whole(c, n, false)
}

func killAtEnd(tr *trial) {
	c := tr.talker(nil, "steady", "20", "1ms").start()
	tr.begun(c)
	tr.kill()
	tr.whole(c, 20, true)
}

func killStop(tr *trial) {
	how := []string{"steady", "polite", "deaf"}[int(tr.delay.Microseconds())%3]
	code := map[string]int{"steady": 143, "polite": 42, "deaf": 137}[how]
	tr.talker([]string{"-d"}, how, "1000000", "5ms").want(0)
	run, _ := tr.find(tr.name)
	tr.must("output", func() bool { return len(tr.record(run.ID, "stdout")) > 0 })
	grace := map[string]string{"steady": "1m", "polite": "1m", "deaf": "500ms"}[how]
	stop := tr.command("stop", "--time", grace, run.ID).start()
	tr.kill()
	if tr.spared {
		stop.want(0)
	} else {
		stop.wait()
		tr.command("stop", "--time", grace, run.ID).want(0)
	}
	run, _ = tr.find(tr.name)
	if !tr.dead && (run.State != "stopped" || run.ExitCode == nil || *run.ExitCode != code) {
		tr.t.Errorf("a %s talker should have been stopped with %d: %v", how, code, run)
	}
	if run.live() {
		tr.t.Errorf("after stop: %v", run)
	}
	lines(tr.t, "record", 'o', tr.record(run.ID, "stdout"), true)
	lines(tr.t, "record", 'e', tr.record(run.ID, "stderr"), true)
}

func killExec(tr *trial) {
	const n = 100_000
	c := tr.talker(nil, "steady", "150", "5ms").start()
	tr.begun(c)
	exec := tr.command("exec", "-e", "SOAK_BEGAN=", tr.name, "--", "/workspace/"+talkerName, "flood", fmt.Sprint(n)).start()
	tr.kill()
	exec.wait()
	got := lines(tr.t, "output of exec", 'o', exec.out.Bytes(), exec.code() != exitTalked)
	switch {
	case exec.code() == exitTalked && got != n:
		tr.t.Errorf("exec ended with %d after %d lines of %d", exec.code(), got, n)
	case exec.code() != exitTalked && tr.killed == 0:
		if run, _ := tr.find(tr.name); run.live() { // otherwise it ended before exec did
			tr.t.Errorf("nothing was killed, but exec ended with %d: %s", exec.code(), exec.err.String())
		}
	}
	tr.whole(c, 150, true)
}

func killInput(tr *trial) {
	data := make([]byte, 3_000_000)
	random := rand.NewChaCha8([32]byte{byte(tr.delay)})
	_, _ = random.Read(data) // never fails
	sum := fmt.Sprintf("%x  -\n", sha256.Sum256(data))
	c := tr.world.run("-n", tr.name, "-i", "--audit-input", "--", "sha256sum")
	c.cmd.Stdin = &paced{data: data, piece: 60_000, tick: time.NewTicker(5 * time.Millisecond)}
	c.start()
	tr.kill()
	if !tr.spared {
		c.wait()
		run, ok := tr.appears()
		if !ok {
			return
		}
		tr.command("stop", "--time", "1s", run.ID).want(0) // it waits for the rest of its input
		return
	}
	c.wait()
	run, _ := tr.find(tr.name)
	if run.State == "exited" {
		if out := c.out.String(); out != sum || c.code() != 0 {
			tr.t.Errorf("sha256sum of the input is %q, the run printed %q and the client ended with %d: %s", sum, out, c.code(), c.err.String())
		}
		if out := tr.record(run.ID, "stdout"); !bytes.Equal(out, []byte(sum)) {
			tr.t.Errorf("sha256sum of the input is %q, the record has %q", sum, out)
		}
		tr.digests(run.ID, data)
	} else if !tr.dead && c.code() != 125 {
		tr.t.Errorf("%v, and the client ended with %d: %s", run, c.code(), c.err.String())
	}
}

// digests checks that the audit record has digests of all that was sent, or says how many bytes are missing.
func (tr *trial) digests(id string, data []byte) {
	tr.t.Helper()
	tr.command("wait", id).wait()
	dir, err := os.OpenRoot(filepath.Join(tr.home, "runs", id))
	if err != nil {
		tr.fatalf("%v", err)
	}
	defer dir.Close()
	key, err := ledger.InputKey(dir)
	if err != nil {
		tr.fatalf("%v", err)
	}
	log, err := ledger.OpenReader(dir)
	if err != nil {
		tr.fatalf("%v", err)
	}
	defer log.Close()
	known := int64(0)
	for text, err := range log.Entries() {
		e, perr := audit.ParseEntry(text)
		switch {
		case err != nil || perr != nil:
			tr.fatalf("%v, %v", err, perr)
		case e.Kind == "gap" && e.Text("what") == "input":
			known += e.Number("lost")
		case e.Kind == "input":
			from, to := e.Number("from"), e.Number("to")
			if from > known || to > int64(len(data)) || ledger.InputHMAC(key, e.Text("source"), uint64(from), data[from:to]) != e.Text("hmac") {
				tr.t.Errorf("entry %d has bytes %d to %d, after %d: it is not what was sent", e.Seq, from, to, known)
				return
			}
			known = max(known, to)
		}
	}
	if known != int64(len(data)) {
		tr.t.Errorf("the audit record knows of %d bytes of input, want %d", known, len(data))
	}
}

// paced gives its data piece by piece, so that a kill finds some of it under way.
type paced struct {
	data  []byte
	piece int
	tick  *time.Ticker
}

func (p *paced) Read(buf []byte) (int, error) {
	if len(p.data) == 0 {
		p.tick.Stop()
		return 0, io.EOF
	}
	<-p.tick.C
	n := copy(buf, p.data[:min(p.piece, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func killDestroy(tr *trial) {
	tr.talker([]string{"-d"}, "steady", "1000000", "5ms").want(0)
	destroy := tr.command("destroy", "-f", tr.name).start()
	tr.kill()
	destroy.wait()
	if tr.spared && !tr.dead && destroy.code() != 0 {
		tr.t.Errorf("destroy ended with %d: %s", destroy.code(), destroy.err.String())
	}
	if run, ok := tr.find(tr.name); ok {
		tr.command("destroy", "-f", run.ID).want(0)
	}
	if run, ok := tr.find(tr.name); ok {
		tr.t.Errorf("after destroy: %v", run)
	}
}
