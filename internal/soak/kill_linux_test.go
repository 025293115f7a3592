package soak

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How many random cases there are if nobody says otherwise, and what fraction of the wanted ones each world gets.
const (
	shortCases = 16
	worlds     = 2
)

// victims are what one kill ends, all at once.
func victims() map[string][]role {
	return map[string][]role{
		"client":               {roleClient},
		"supervisor":           {roleSupervisor},
		"guard":                {roleGuard},
		"guest":                {roleGuest},
		"guard and supervisor": {roleGuard, roleSupervisor},
		"supervisor and guest": {roleSupervisor, roleGuest},
		"all on the host":      {roleClient, roleGuard, roleSupervisor},
		"everything":           {roleClient, roleGuard, roleSupervisor, roleGuest},
	}
}

// phases are when it is killed.
func phases() []phase {
	return []phase{
		{"start", 60, killAtStart},
		{"steady", 400, killSteady},
		{"flood", 300, killFlood},
		{"stop", 700, killStop},
		{"exec", 200, killExec},
		{"input", 250, killInput},
		{"end", 60, killAtEnd},
		{"destroy", 150, killDestroy},
	}
}

type phase struct {
	name  string
	upTo  int // the kill comes after at most so many milliseconds
	trial func(*trial)
}

// TestKills is the heart of this package: random kills at random moments.
func TestKills(t *testing.T) {
	seed, only := seedOf(t)
	cases := shortCases
	if text := os.Getenv("MOAT_SOAK"); text != "" { // see times
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("MOAT_SOAK=%q: write how many kills", text)
		}
		cases = n
	}
	for i := range worlds {
		t.Run(fmt.Sprintf("world %d", i), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for n := i; n < cases && !t.Failed(); n += worlds {
				if only >= 0 && n != only {
					continue
				}
				newTrial(w, seed, n).run()
			}
		})
	}
}

// TestKillsRaceBuild does some of it with a moat that was built with the race detector.
func TestKillsRaceBuild(t *testing.T) {
	t.Parallel()
	program := programs.path("moat-race")
	if err := build(program, "CGO_ENABLED=1", "-race"); err != nil {
		t.Skipf("no moat with the race detector here: %v", err)
	}
	seed, _ := seedOf(t)
	w := worldOf(t, program, "home")
	races := filepath.Join(filepath.Dir(w.home), "race")
	w.env = []string{"GORACE=log_path=" + races} // guards and supervisors get it too; guests have no environment
	for n := 1000; n < 1004 && !t.Failed(); n++ {
		newTrial(w, seed, n).run()
	}
	found, _ := filepath.Glob(races + ".*")
	for _, name := range found {
		data, _ := os.ReadFile(name)
		t.Errorf("%s:\n%s", name, data)
	}
}

// seedOf is the seed of this test's random cases, and the only case that is wanted or -1: MOAT_SOAK_SEED is the one, or
// both with a colon between them.
func seedOf(t *testing.T) (seed uint64, only int) {
	text := os.Getenv("MOAT_SOAK_SEED")
	if text == "" {
		return rand.Uint64(), -1
	}
	first, second, both := strings.Cut(text, ":")
	seed, err := strconv.ParseUint(first, 10, 64)
	only = -1
	if both && err == nil {
		only, err = strconv.Atoi(second)
	}
	if err != nil {
		t.Fatalf("MOAT_SOAK_SEED=%q: %v", text, err)
	}
	return seed, only
}

// trial is one run and one kill.
type trial struct {
	*world
	what   string // for messages
	name   string // of the run
	began  string // file that the talker appends to
	phase  phase
	roles  []role
	killed int           // processes
	delay  time.Duration // until the kill
	again  time.Duration // until another one of the same; 0: there is none
	spared bool          // the attached client is not among the victims
	dead   bool          // the guest is among them
}

func newTrial(w *world, seed uint64, n int) *trial {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	all := phases()
	ph := all[r.IntN(len(all))]
	// The supervisor is where a death matters most, so it comes twice.
	names := append(slices.Sorted(maps.Keys(victims())), "supervisor")
	victim := names[r.IntN(len(names))]
	tr := &trial{
		world: w, name: fmt.Sprintf("trial-%d", n), phase: ph, roles: victims()[victim],
		delay:  time.Duration(r.IntN(ph.upTo*1000)) * time.Microsecond,
		spared: !slices.Contains(victims()[victim], roleClient),
		dead:   slices.Contains(victims()[victim], roleGuest),
	}
	if ph.name != "start" && r.IntN(2) == 0 { // a start whose supervisors keep dying is given up
		tr.again = time.Duration(1+r.IntN(100)) * time.Millisecond
	}
	tr.began = filepath.Join(w.workspace, tr.name)
	tr.what = fmt.Sprintf("case %d: %s killed during %s after %v and again after %v (repeat: MOAT_SOAK_SEED=%d:%d)", n, victim, ph.name, tr.delay, tr.again, seed, n)
	return tr
}

func (tr *trial) run() {
	tr.t.Helper()
	failed := tr.t.Failed()
	began := time.Now()
	tr.phase.trial(tr)
	if run, ok := tr.appears(); ok {
		tr.intact("right after the kill", "audit", run.ID)
		tr.settled(run)
	} else if !slices.Contains([]string{"start", "input", "destroy"}, tr.phase.name) {
		tr.t.Errorf("the run is not there")
	}
	tr.command("clean", "-f").want(0)
	if left := tr.leftInHome(); len(left) > 0 {
		tr.t.Errorf("after clean these are left in the home: %q", left)
	}
	if !failed && tr.t.Failed() {
		tr.t.Errorf("that was %s", tr.what)
	} else if testing.Verbose() {
		tr.t.Logf("%s: ok in %v", tr.what, time.Since(began).Round(time.Millisecond))
	}
}

// talker starts a run of a talker.
func (tr *trial) talker(flags []string, args ...string) *command {
	c := tr.world.run(append(append([]string{"-n", tr.name}, flags...), append([]string{"--", "/workspace/" + talkerName}, args...)...)...)
	c.cmd.Env = append(c.cmd.Env, "SOAK_BEGAN=/workspace/"+tr.name)
	return c
}

// kill waits for its moment and ends the victims.
func (tr *trial) kill() {
	<-time.NewTimer(tr.delay).C
	tr.killed = tr.killRoles(tr.roles...)
	if tr.again > 0 {
		<-time.NewTimer(tr.again).C
		tr.killed += tr.killRoles(tr.roles...)
	}
}

// appears finds the trial's run, which a guard may still be making for a client that was killed.
func (tr *trial) appears() (run listed, ok bool) {
	tr.t.Helper()
	tr.must("the run, or the end of who makes it", func() bool {
		nobody := len(tr.procs()) == 0
		run, ok = tr.find(tr.name)
		return ok || nobody
	})
	return run, ok
}

// settled checks a run, whose end comes by itself, after the kill.
func (tr *trial) settled(run listed) {
	tr.t.Helper()
	waited := tr.command("wait", run.ID).wait()
	run, ok := tr.find(run.ID)
	if !ok || run.live() {
		tr.fatalf("after wait: %v", run)
	}
	want := 125
	if run.ExitCode != nil {
		want = *run.ExitCode
	}
	if waited.code() != want {
		tr.t.Errorf("moat wait ended with %d (%s), but %v", waited.code(), waited.err.String(), run)
	}
	began, _ := os.ReadFile(tr.began)
	if n := bytes.Count(began, []byte("\n")); n > 1 {
		tr.t.Errorf("the command was started %d times", n)
	}
	tr.intact("when it had ended", "audit", "--all")
	tr.nothingLeft(run.ID)
}

// intact verifies audit records. A kill may leave a gap in them, and never damage.
func (tr *trial) intact(when string, args ...string) {
	tr.t.Helper()
	c := tr.command(args...)
	c.wait()
	if c.code() != 0 && !strings.Contains(c.err.String(), "there is no run") {
		tr.t.Errorf("%s the audit record was not intact (%d):\n%s%s", when, c.code(), c.out.String(), c.err.String())
	}
}

// whole checks a run of a talker that says n lines and ends by itself, its record, and what the client c has shown.
func (tr *trial) whole(c *command, n int, both bool) {
	tr.t.Helper()
	run, ok := tr.find(tr.name)
	if !ok {
		tr.t.Errorf("the run is not there; the client said %s", c.err.String())
		return
	}
	tr.command("wait", run.ID).wait()
	if tr.spared {
		c.wait()
	}
	run, _ = tr.find(tr.name)
	complete := run.State == "exited"
	if !complete && !tr.dead || complete && (run.ExitCode == nil || *run.ExitCode != exitTalked) {
		tr.t.Errorf("the run should have exited with %d: %v", exitTalked, run)
	}
	tr.shown(c, run, n, complete, both)
}

// shown checks the record and what the client has shown; they must be the same unless the client was killed.
func (tr *trial) shown(c *command, run listed, n int, complete, both bool) {
	tr.t.Helper()
	tr.stream(c, run, "stdout", complete, n)
	if both {
		tr.stream(c, run, "stderr", complete, n)
	}
	if !tr.spared {
		return
	}
	want := 125
	if complete {
		want = exitTalked
	}
	if c.code() != want {
		tr.t.Errorf("the client ended with %d, want %d: %v\n%.3000s", c.code(), want, run, c.err.String())
	}
}

// stream checks one stream of a talker: n lines of it if it is complete, else some.
func (tr *trial) stream(c *command, run listed, name string, complete bool, n int) {
	tr.t.Helper()
	record := tr.record(run.ID, name)
	letter, seen := byte('o'), c.out.Bytes()
	if name == "stderr" {
		letter, seen = 'e', c.err.Bytes()
		if i := bytes.Index(seen, []byte("moat: ")); i >= 0 { // quiet as it is, it tells errors, and at the end
			seen = seen[:i]
		}
	}
	got := lines(tr.t, "record of "+name, letter, record, !complete)
	if complete && got != n {
		tr.t.Errorf("record of %s has %d lines, want %d", name, got, n)
	}
	switch {
	case !bytes.HasPrefix(record, seen):
		tr.t.Errorf("the client has shown on %s what is not in the record: %d bytes, the record has %d", name, len(seen), len(record))
	case tr.spared && len(seen) < len(record):
		tr.t.Errorf("the client has shown %d bytes of %s, the record has %d", len(seen), name, len(record))
	}
}
