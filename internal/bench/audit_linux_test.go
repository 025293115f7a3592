package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

// Entries of the records that are verified.
const (
	someEntries = 100_000
	manyEntries = 1_000_000
)

// measureAudit takes what the audit record costs requests, and how long it takes to verify one.
func measureAudit(t *testing.T, b *bench) {
	measureAuditedRequests(t, b)
	for _, v := range []struct {
		name    string
		entries int
		limit   float64
	}{{"audit of 100,000 entries", someEntries, 300}, {"audit of 1,000,000 entries", manyEntries, 3000}} {
		home, restore := b.fresh(t)
		f := endedRun(t, home)
		fillAudit(t, home.Path(), f, v.entries)
		if err := f.Close(); err != nil { // nobody looks after it any more
			t.Fatal(err)
		}
		verify := b.command("audit", f.Record().ID)
		verify.out = buffer
		b.add(alone(v.name, wall, interleave(t, readings, verify)[0]).to("", v.limit))
		n := inMegabytes(b.peakOf(t, "audit", f.Record().ID))
		b.add(figure{Name: v.name + ", resident", Unit: megabytes, N: 1, Moat: n, Min: n, Limit: 40})
		restore()
	}
}

// measureAuditedRequests has requests go through the proxy of a run, with an audit record and without one, one after the
// other. Both ways have the record of the network.
func measureAuditedRequests(t *testing.T, b *bench) {
	const rounds = 8
	var with, without, held []time.Duration
	for range rounds {
		for _, audited := range []bool{false, true} {
			p := openProxy(t, audited)
			w := httpLoad{URL: "https://" + passed + "/x", For: time.Second}.repeat(p.client, time.Now())
			if w.Error != "" {
				t.Fatal(w.Error)
			}
			p.close()
			if audited {
				with, held = append(with, w.Each...), append(held, p.held...)
			} else {
				without = append(without, w.Each...)
			}
		}
	}
	for _, l := range [][]time.Duration{with, without, held} {
		slices.Sort(l)
	}
	at := func(list []time.Duration, perMille int) float64 { return inMilliseconds(list[len(list)*perMille/1000]) }
	for _, rank := range []struct {
		name     string
		perMille int
		limit    float64
	}{{"p50", 500, 0}, {"p99", 990, 1}, {"p99.9", 999, 0}} {
		v := at(held, rank.perMille)
		b.add(figure{Name: "audit: a request waits for an entry, " + rank.name, Unit: milliseconds, N: len(held), Moat: v, Min: v, Limit: rank.limit}.small())
		v = round(at(with, rank.perMille) - at(without, rank.perMille))
		b.add(figure{Name: "audit: added to an answer, " + rank.name, Unit: milliseconds, N: len(with), Moat: v, Min: v, Limit: rank.limit}.small())
	}
}

// fillAudit makes the record of a run that has ended, as a supervisor would, with so many entries.
func fillAudit(t *testing.T, home string, f *run.Folder, entries int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.OpenRoot(f.Dir())
	must(err)
	defer dir.Close()
	machine := ledger.OpenMachine(home)
	signer, _, err := machine.Signer(t.Context(), nil)
	must(err)
	log, _, err := ledger.Open(dir, nil)
	must(err)
	rec := f.Record()
	add := func(kind string, fields ...audit.Field) {
		t.Helper()
		must(log.Append(time.Now(), kind, fields...))
	}
	sign := func(enter bool) {
		t.Helper()
		signed, err := log.Sign(audit.OriginOf(signer.Key, rec.ID), signer)
		must(err)
		if enter {
			_, err = machine.EnterRun(signer, rec.ID, signed)
			must(err)
		}
	}
	plan, err := json.Marshal(rec.Plan)
	must(err)
	sum := sha256.Sum256(plan)
	add("created", audit.Text("run", rec.ID), audit.Text("name", rec.Name), audit.Text("plan", hex.EncodeToString(sum[:])))
	for i := range entries - 3 {
		add("exec", audit.Number("uid", 0), audit.List("args", []string{"make", "test"}), audit.Text("dir", "/workspace"),
			audit.List("env", nil), audit.Flag("tty", false), audit.Number("number", i))
		if i%5000 == 0 { // in a second
			sign(false)
		}
	}
	add("ended", ledger.EndFields(ledger.State{State: string(rec.State), ExitCode: rec.ExitCode, Started: rec.StartedAt, Ended: rec.EndedAt})...)
	sign(true)
	add("closed", audit.Number("lines", 0), audit.Number("output", 0), audit.Number("index", 0))
	sign(true)
	must(log.Close())
}
