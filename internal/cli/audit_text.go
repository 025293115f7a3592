package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
)

// auditJSON is a report as "moat audit --json" prints it.
type auditJSON struct {
	Run        *string          `json:"run"` // null: the record of the machine
	Name       *string          `json:"name"`
	State      *string          `json:"state"`
	Valid      bool             `json:"valid"`
	Entries    int64            `json:"entries"`
	Signed     int64            `json:"signed"` // of them, those that the checkpoint is about
	Checkpoint *checkpointJSON  `json:"checkpoint"`
	FirstT     *time.Time       `json:"first_t"`
	LastT      *time.Time       `json:"last_t"`
	Problems   []problemJSON    `json:"problems"`
	Gaps       []problemJSON    `json:"gaps"`
	Remarks    []string         `json:"remarks"`
	Witnesses  []witnessingJSON `json:"witnesses"`
}

type checkpointJSON struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	Key    string `json:"key"`
	Note   string `json:"note"`
}

type problemJSON struct {
	Entry   *int64  `json:"entry"`
	Kind    *string `json:"kind"`
	Problem string  `json:"problem"`
}

type witnessingJSON struct {
	Size int64     `json:"size"`
	Key  string    `json:"key"`
	T    time.Time `json:"t"`
}

func toCheckpointJSON(s audit.Signed) *checkpointJSON {
	if s.Size == 0 {
		return nil
	}
	return &checkpointJSON{s.Origin, s.Size, s.Root.String(), s.By.String(), string(s.Note)}
}

func toProblems(list []ledger.Problem) []problemJSON {
	out := []problemJSON{}
	for _, p := range list {
		j := problemJSON{Problem: p.What, Kind: unlessEmpty(p.Kind)}
		if p.Entry > 0 {
			j.Entry = &p.Entry
		}
		out = append(out, j)
	}
	return out
}

func toAuditJSON(a *audited) auditJSON {
	j := auditJSON{
		Run: unlessEmpty(a.id), Name: unlessEmpty(a.name), State: unlessEmpty(a.state), Valid: a.Valid(), Entries: a.Entries, Signed: a.Signed,
		Checkpoint: toCheckpointJSON(a.Newest), Problems: toProblems(a.Problems), Gaps: toProblems(a.Gaps),
		Remarks: append([]string{}, a.Remarks...), Witnesses: []witnessingJSON{},
	}
	if a.Entries > 0 {
		j.FirstT, j.LastT = &a.First, &a.Last
	}
	for _, s := range a.Seen {
		for _, w := range s.Witnesses {
			j.Witnesses = append(j.Witnesses, witnessingJSON{s.Size, w.Key.Witness(), w.Time})
		}
	}
	return j
}

// showReport prints a report and returns auditBad if it is not good.
func (app *App) showReport(a *audited, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(app.Out, toAuditJSON(a))
	} else {
		err = printReport(app.Out, a)
	}
	if err == nil && !a.Valid() {
		err = auditBad()
	}
	return err
}

// printReport prints a report for a person.
func printReport(w io.Writer, a *audited) error {
	out := &lineWriter{w: w}
	verdict := "intact"
	if !a.Valid() {
		verdict = "NOT INTACT"
	}
	what := "the record of the machine"
	if a.id != "" {
		what = strings.TrimPrefix(fmt.Sprintf("%s (%s, %s)", a.name, a.id, a.state), " ")
	}
	out.printf("%s: %s\n", what, verdict)
	if a.Entries > 0 {
		out.printf("  %s from %s to %s, %d of them signed\n", countText(a.Entries, "entry", "entries"), stamp(a.First), stamp(a.Last), a.Signed)
	}
	if a.Newest.Size > 0 {
		out.printf("  root %s of %d, by %s\n", a.Newest.Root, a.Newest.Size, a.Newest.By)
	}
	for _, s := range a.Seen {
		for _, x := range s.Witnesses {
			out.printf("  seen by %s at %s: %d entries\n", x.Key.Name, stamp(x.Time), s.Size)
		}
		for _, name := range s.Unknown {
			out.printf("  cosigned by %s, which is not known here: that means nothing\n", name)
		}
	}
	for _, p := range a.Problems {
		out.printf("  PROBLEM  %s%s\n", where(p), visible(p.What))
	}
	for _, p := range a.Gaps {
		out.printf("  gap      %s%s\n", where(p), visible(p.What))
	}
	for _, r := range a.Remarks {
		out.printf("  note     %s\n", visible(r))
	}
	return out.err
}

// where names the entry that a problem is about.
func where(p ledger.Problem) string {
	switch {
	case p.Entry == 0:
		return ""
	case p.Kind == "":
		return fmt.Sprintf("entry %d: ", p.Entry)
	}
	return fmt.Sprintf("entry %d (%s): ", p.Entry, visible(p.Kind))
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// lineWriter prints until something goes wrong.
type lineWriter struct {
	w   io.Writer
	err error
}

func (l *lineWriter) printf(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format, args...)
	}
}

// auditAll verifies every run and the record of the machine.
func (app *App) auditAll(ctx context.Context, v *verifier, asJSON bool) error {
	list, err := v.home.List(true)
	if err != nil {
		return err
	}
	ids := []string{}
	for _, r := range list.Runs {
		ids = append(ids, r.ID)
	}
	for _, p := range list.Problems {
		ids = append(ids, p.ID)
	}
	if err := v.verifyMachine(ctx, v.anchors(ids)); err != nil {
		return err
	}
	machine := v.history.Report
	for _, id := range v.history.Missing(ids) {
		machine.Problems = append(machine.Problems, ledger.Problem{What: notThere(id)})
	}
	all := []*audited{{Report: &machine}}
	for _, id := range ids {
		a, err := v.run(ctx, id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was destroyed meanwhile
		}
		if err != nil {
			return fmt.Errorf("audit of %s: %w", id, err)
		}
		all = append(all, a)
	}
	return app.showAll(all, asJSON)
}

// anchors are what all runs say about the machine's record.
func (v *verifier) anchors(ids []string) []ledger.Claim {
	var claims []ledger.Claim
	for _, id := range ids {
		root, err := os.OpenRoot(v.home.Dir(id))
		if err != nil {
			continue
		}
		claims = append(claims, v.anchor(root, id)...)
		root.Close()
	}
	return claims
}

func (app *App) showAll(all []*audited, asJSON bool) error {
	bad := slices.ContainsFunc(all, func(a *audited) bool { return !a.Valid() })
	if asJSON {
		list := []auditJSON{}
		for _, a := range all {
			list = append(list, toAuditJSON(a))
		}
		err := printJSON(app.Out, struct {
			Valid   bool        `json:"valid"`
			Records []auditJSON `json:"records"`
		}{!bad, list})
		if err != nil {
			return err
		}
	} else {
		for _, a := range all {
			if err := printReport(app.Out, a); err != nil {
				return err
			}
		}
	}
	if bad {
		return auditBad()
	}
	return nil
}
