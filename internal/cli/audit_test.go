package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/plan"
	"moat/internal/run"
)

// TestAuditBesideAnEnd: with --all the machine's record is read before the runs. One that ends in between has an end that
// the machine's record, as it was, did not know.
func TestAuditBesideAnEnd(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	home, err := run.Open(t.TempDir())
	must(err)
	now := time.Now()
	f, err := home.Create(plan.Plan{Workspace: "/tmp", Runtime: "native", Command: []string{"true"}}, now)
	must(err)
	code := 0
	must(errors.Join(f.Do(run.EventStart, now, nil), f.Do(run.EventUp, now, nil),
		f.Do(run.EventEnd, now, func(r *run.Record) { r.ExitCode = &code })))
	rec := f.Record()
	dir, err := os.OpenRoot(f.Dir())
	must(err)
	defer dir.Close()
	machine := ledger.OpenMachine(home.Path())
	signer, _, err := machine.Signer(t.Context(), nil)
	must(err)
	log, _, err := ledger.Open(dir, nil)
	must(err)
	sign := func() {
		t.Helper()
		signed, err := log.Sign(audit.OriginOf(signer.Key, rec.ID), signer)
		must(err)
		_, err = machine.EnterRun(signer, rec.ID, signed)
		must(err)
	}
	text, err := json.Marshal(rec.Plan)
	must(err)
	sum := sha256.Sum256(text)
	must(log.Append(now, "created", audit.Text("run", rec.ID), audit.Text("name", rec.Name), audit.Moment("created_at", rec.CreatedAt), audit.Text("plan", hex.EncodeToString(sum[:]))))
	sign()

	v := &verifier{home: home, machine: machine, all: true}
	v.keys, err = machine.Keys()
	must(err)
	must(v.verifyMachine(t.Context(), nil))

	must(log.Append(now, "ended", ledger.EndFields(ledger.State{State: string(rec.State), ExitCode: rec.ExitCode, Started: rec.StartedAt, Ended: rec.EndedAt})...))
	sign()
	must(log.Append(now, "closed", audit.Number("lines", 0), audit.Number("output", 0), audit.Number("index", 0)))
	sign()
	must(errors.Join(log.Close(), f.Close()))
	report, err := v.run(t.Context(), rec.ID)
	must(err)
	if !report.Valid() || !report.Closed {
		t.Errorf("%+v", report.Problems)
	}
}
