package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/journal"
)

const runID = "run-0123456789ab"

// rig is a home with a run whose records are real.
type rig struct {
	t       testing.TB
	home    string
	id      string
	dir     *os.Root // the run's folder
	machine *Machine
	signer  *audit.Signer
	log     *Log
	records Records
	output  *journal.Output
	network *journal.Network
	boot    string
	state   State
	held    bool
}

func newRig(t testing.TB, id string) *rig {
	t.Helper()
	return addRun(t, t.TempDir(), id)
}

// addRun makes a run in a home.
func addRun(t testing.TB, home, id string) *rig {
	t.Helper()
	folder := filepath.Join(home, "runs", id)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	r := &rig{t: t, home: home, id: id, dir: dir, machine: OpenMachine(home), boot: "one", state: State{State: "running", Plan: "p"}}
	r.signer, _, err = r.machine.Signer(context.Background(), nil)
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// open begins as a supervisor does, and takes down in what it finds.
func (r *rig) open(restart bool) Recovery {
	r.t.Helper()
	var err error
	r.output, _, err = journal.OpenOutput(r.dir)
	r.must(err)
	r.network, _, err = journal.OpenNetwork(r.dir, nil)
	r.must(err)
	r.records = Records{}
	var found Recovery
	r.log, found, err = Open(r.dir, r.records.Look)
	r.must(err)
	r.records.Begin(r.log, r.dir)
	if found.Entries == 0 {
		r.event("created", audit.Text("run", r.id), audit.Text("plan", r.state.Plan))
	} else {
		r.event("gap", audit.Text("what", "supervisor"), audit.Text("why", "it was killed"))
	}
	r.event("supervisor", audit.Text("plan", r.state.Plan))
	output, index := r.output.Extent()
	r.must(r.records.CatchUp(output, index, restart))
	r.network.OnWritten(func(w journal.Written) {
		if _, err := r.records.Network(w); err != nil {
			r.t.Error(err)
		}
	})
	return found
}

func (r *rig) event(kind string, fields ...audit.Field) {
	r.t.Helper()
	r.must(r.log.Append(time.Now(), kind, fields...))
	r.must(r.log.Flush())
}

// print records output.
func (r *rig) print(text string) {
	r.t.Helper()
	r.must(r.output.Append(journal.Chunk{Time: time.Now(), Stream: journal.Stdout, Offset: r.output.Offset(), Data: []byte(text)}))
}

// request records a request with a credential, whole.
func (r *rig) request(host string) {
	r.t.Helper()
	grant := "github"
	q := journal.Request{T: time.Now(), Kind: journal.KindHTTP, Host: host, Decision: journal.Allowed, Grant: &grant}
	q.ID = r.network.Begin(q)
	r.network.End(q)
	r.must(r.network.Sync())
}

// round signs, as a supervisor does each second.
func (r *rig) round() {
	r.t.Helper()
	output, index := r.output.Extent()
	r.must(r.records.Output(output, index))
	if head := r.sign(); head.Size > 0 {
		r.event("anchor", audit.Text("origin", head.Origin), audit.Number("size", head.Size), audit.Text("root", head.Root.String()))
	}
}

func (r *rig) sign() (head audit.Checkpoint) {
	r.t.Helper()
	signed, err := r.log.Sign(audit.OriginOf(r.signer.Key, r.id), r.signer)
	r.must(err)
	r.must(r.log.Sync())
	if signed != nil {
		head, err = r.machine.EnterRun(r.signer, r.id, signed)
		r.must(err)
	}
	return head
}

// end ends the run and closes everything.
func (r *rig) end() {
	r.t.Helper()
	code, now := 3, time.Now()
	r.state = State{State: "exited", Final: true, ExitCode: &code, Plan: r.state.Plan, Started: &now, Ended: &now, Reason: "because"}
	r.event("ended", EndFields(r.state)...)
	r.must(r.network.Close())
	r.must(r.output.Close())
	output, index := r.output.Extent()
	r.must(r.records.Output(output, index))
	r.sign()
	r.must(r.records.Close(output, index))
	r.sign()
	r.must(r.log.Close())
}

// kill ends everything without a word, as SIGKILL does.
func (r *rig) kill() {
	r.t.Helper()
	r.must(errors.Join(r.network.Close(), r.output.Close(), r.log.file.Close()))
}

// life is a whole run.
func (r *rig) life() {
	r.t.Helper()
	r.open(false)
	r.print("hello\n")
	r.request("api.example")
	r.round()
	r.print("more\n")
	r.round()
	r.end()
}

// verify verifies the run and the machine's record, as the command line does.
func (r *rig) verify() *Report {
	r.t.Helper()
	keys, err := r.machine.Keys()
	if err != nil {
		return &Report{Problems: []Problem{{What: err.Error()}}}
	}
	var problems []Problem
	unless := func(err error) {
		if err != nil {
			problems = append(problems, Problem{What: err.Error()})
		}
	}
	seen, err := r.machine.Witnessed(audit.OriginOf(r.signer.Key, ""), keys)
	unless(err)
	history, err := r.machine.VerifyMachine(keys, append(r.anchors(), seen...))
	r.must(err)
	claims, err := history.Claims(r.id, keys)
	unless(err)
	seen, err = r.machine.Witnessed(audit.OriginOf(r.signer.Key, r.id), keys)
	unless(err)
	claims = append(claims, seen...)
	report, err := VerifyRun(Subject{Dir: r.dir, Run: r.id, Keys: keys, Claims: claims, Known: history.Known(r.id), Held: r.held, State: r.state})
	r.must(err)
	report.Problems = append(append(problems, history.Problems...), report.Problems...)
	return report
}

func (r *rig) anchors() []Claim {
	in, err := OpenReader(r.dir)
	if err != nil {
		return nil
	}
	defer in.Close()
	if claim, ok := in.Anchor(); ok {
		claim.Source = "the run knows"
		return []Claim{claim}
	}
	return nil
}

// wantBad verifies and wants a problem that says so.
func (r *rig) wantBad(what, says string) {
	r.t.Helper()
	report := r.verify()
	var all []string
	for _, p := range report.Problems {
		all = append(all, p.What)
	}
	if text := strings.Join(all, "; "); report.Valid() || !strings.Contains(text, says) {
		r.t.Errorf("%s: problems %q, want one that says %q", what, text, says)
	}
}

// wantGood verifies and wants no problem.
func (r *rig) wantGood(what string) *Report {
	r.t.Helper()
	report := r.verify()
	if !report.Valid() {
		r.t.Errorf("%s: %+v", what, report.Problems)
	}
	return report
}

// files are the paths of everything that is under audit.
func (r *rig) files() []string {
	r.t.Helper()
	var all []string
	for _, pattern := range []string{"audit/log", "audit/keys", "audit/seen/*", "runs/*/audit/*", "runs/*/network.jsonl", "runs/*/output.*"} {
		found, err := filepath.Glob(filepath.Join(r.home, pattern))
		r.must(err)
		all = append(all, found...)
	}
	return all
}
