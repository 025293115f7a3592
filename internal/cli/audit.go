package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

type auditOptions struct {
	all, json bool
	export    string
	entries   string
}

func (app *App) auditCommand() *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use:   "audit [--json] [--all] [--export FILE [--entries A-B]] [run]",
		Short: "Verify the record of what happened to a run",
		Long: `Verify the record of what happened to a run, of the newest one if none is named: that nothing in it was changed, removed, added or put
back, that it is signed by this machine, and that the recorded output and network traffic and the run's state are those that were
entered. It only reads, and the run may be going on. What the record itself says that is missing is shown as a gap.

Exit codes: 0 the record is intact, 1 it is not, 2 a mistake on the command line.

With --export the record is written to a file as well, for "moat verify-bundle" on any machine: whole, or with --entries only some
entries, each with a proof. With --all it is the record of the machine, which has the newest root of every run. "moat trace" shows what happened.`,
		Example: `  moat audit
  moat audit --all
  moat audit --export tests.bundle tests
  moat audit --all --export machine.bundle`,
		Args:              atMostOneRun,
		ValidArgsFunction: app.completeOneRun(false, cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(c *cobra.Command, args []string) error { return app.audit(c, o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "every run, and the record of the machine")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.StringVar(&o.export, "export", "", "write a bundle to `FILE`")
	f.StringVar(&o.entries, "entries", "", "of the bundle: the entries from `A-B` only, each with a proof")
	c.AddCommand(app.auditKeyCommand(), app.auditWitnessCommand())
	for _, sub := range c.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return c
}

func (app *App) audit(c *cobra.Command, o auditOptions, args []string) error {
	switch {
	case o.all && len(args) > 0:
		return usagef(c, "--all is about every run: name none")
	case o.entries != "" && o.export == "":
		return usagef(c, "--entries is about --export")
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	v := &verifier{home: home, machine: ledger.OpenMachine(home.Path()), all: o.all}
	if v.keys, err = v.machine.Keys(); err != nil {
		return err
	}
	id := "" // the machine
	if !o.all {
		var missing *run.NotFoundError
		if id, err = v.find(args); errors.As(err, &missing) && len(args) > 0 && run.IsID(args[0]) {
			return app.auditGone(c.Context(), v, args[0], o.json, err)
		}
		if err != nil {
			return err
		}
		if err := v.closing(c.Context(), id); err != nil {
			return err
		}
	}
	if o.export != "" {
		if err := v.export(c, id, o); err != nil {
			return err
		}
		app.say("the bundle is in %s; \"moat verify-bundle %s\" verifies it, elsewhere with --key and what \"moat audit key\" prints here", o.export, shellWord(o.export))
	}
	if o.all {
		return app.auditAll(c.Context(), v, o.json)
	}
	report, err := v.run(c.Context(), id)
	if err != nil {
		return fmt.Errorf("audit of %s: %w", id, err)
	}
	return app.showReport(report, o.json)
}

// auditGone says of a run that is not there whether it should be: notFound if there never was such a run.
func (app *App) auditGone(ctx context.Context, v *verifier, id string, asJSON bool, notFound error) error {
	if err := v.verifyMachine(ctx, nil); err != nil {
		return err
	}
	switch {
	case !v.history.Knows(id):
		return notFound
	case v.history.Destroyed(id):
		return &exitError{code: codeFailure, err: fmt.Errorf("%s was destroyed with moat", id), hint: "the record of that is in: moat audit --all --export FILE"}
	}
	r := &ledger.Report{Problems: append(v.machineProblems(), ledger.Problem{What: notThere(id)})}
	return app.showReport(&audited{Report: r, id: id, state: "missing"}, asJSON)
}

func notThere(id string) string {
	return id + " is not there any more, and nobody has destroyed it with moat"
}

// auditBad is the exit of a record that is not intact; what is to be said has been said.
func auditBad() error { return &exitError{code: codeFailure} }

// verifier verifies the records of a home.
type verifier struct {
	home    *run.Home
	machine *ledger.Machine
	keys    ledger.Keys
	all     bool // every run is looked at
	history *ledger.History
}

// audited is the report about one run.
type audited struct {
	*ledger.Report
	id, name, state string
}

// find returns the id of the run that is meant. Its record, run.json, may be damaged.
func (v *verifier) find(args []string) (string, error) {
	var entry run.Entry
	var err error
	if len(args) > 0 {
		entry, err = v.home.Get(args[0])
	} else {
		entry, err = v.home.Newest(false)
	}
	var damaged *run.DamagedError
	if errors.As(err, &damaged) {
		return damaged.ID, nil
	}
	return entry.Record.ID, err
}

// closing waits a while for the supervisor of a run that has just ended: it has the end to sign.
func (v *verifier) closing(ctx context.Context, id string) error {
	entry, err := v.home.Get(id)
	if err != nil || !entry.State.Final() {
		return nil // what is wrong shows later
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = waitReleased(limited, v.home, id)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// How often the record of a run that is going on is looked at before what seems wrong is believed: it may have been in the
// middle of a change.
const (
	auditTries = 5
	auditPause = 200 * time.Millisecond
)

// run verifies a run's record.
func (v *verifier) run(ctx context.Context, id string) (*audited, error) {
	for try := 1; ; try++ {
		fresh := v.history == nil
		report, held, err := v.once(ctx, id)
		if err != nil {
			return nil, err
		}
		if report.Valid() || !held && fresh || try == auditTries {
			return report, nil
		}
		if held {
			if err := waitFor(ctx, auditPause); err != nil {
				return nil, err
			}
		}
		v.history = nil // it may have grown, also since before the run was let go
	}
}

// waitFor waits for d, or for the end of ctx.
func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *verifier) once(ctx context.Context, id string) (report *audited, held bool, err error) {
	dir := v.home.Dir(id)
	if held, err = run.Locked(filepath.Join(dir, run.FileLock)); err != nil {
		return nil, false, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, held, err
	}
	defer root.Close()
	// The machine's record first: what it knows, the run's has already.
	if v.history == nil {
		if err := v.verifyMachine(ctx, v.anchor(root, id)); err != nil {
			return nil, held, err
		}
	}
	problems := v.machineProblems()
	claims, err := v.claims(id)
	if err != nil {
		problems = append(problems, ledger.Problem{What: err.Error()})
	}
	state := v.stateOf(id)
	if v.older(root, id) {
		r := &ledger.Report{Remarks: []string{"it was made before moat kept audit records"}, Problems: problems}
		return &audited{Report: r, id: id, name: v.name(id), state: state.State}, held, nil
	}
	r, err := ledger.VerifyRun(ledger.Subject{Dir: root, Run: id, Keys: v.keys, Claims: claims, Known: v.history.Known(id), Held: held, State: state})
	if err != nil {
		return nil, held, err
	}
	r.Problems = append(problems, r.Problems...)
	return &audited{Report: r, id: id, name: v.name(id), state: state.State}, held, nil
}

// machineProblems are those of the machine's record, for the report about a run; none where that has a report of its own.
func (v *verifier) machineProblems() []ledger.Problem {
	var problems []ledger.Problem
	if v.all {
		return nil
	}
	for _, p := range v.history.Problems {
		problems = append(problems, ledger.Problem{What: "the record of the machine: " + where(p) + p.What})
	}
	return problems
}

// name is the run's, if anybody knows.
func (v *verifier) name(id string) string {
	entry, err := v.home.Get(id)
	if err != nil {
		return ""
	}
	return entry.Record.Name
}

// older reports whether a run without an audit record is older than the first record of this machine. As nothing vouches for
// when it was made, only --all lets it pass.
func (v *verifier) older(root *os.Root, id string) bool {
	if !v.all || ledger.Exists(root) || v.history.Knows(id) {
		return false
	}
	entry, err := v.home.Get(id)
	return err == nil && (v.history.Entries == 0 || entry.Record.CreatedAt.Before(v.history.First))
}

// anchor is what a run's record says about the machine's.
func (v *verifier) anchor(root *os.Root, id string) []ledger.Claim {
	r, err := ledger.OpenReader(root)
	if err != nil {
		return nil
	}
	defer r.Close()
	claim, ok := r.Anchor()
	if !ok {
		return nil
	}
	claim.Source = "the record of " + id + " knows"
	return []ledger.Claim{claim}
}

// claims are the checkpoints of a run that are known from elsewhere.
func (v *verifier) claims(id string) ([]ledger.Claim, error) {
	claims, err := v.history.Claims(id, v.keys)
	if err != nil {
		return nil, fmt.Errorf("what the record of the machine has of the run: %w", err)
	}
	seen, err := v.witnessed(id)
	if err != nil {
		return claims, fmt.Errorf("what witnesses have seen of the run: %w", err)
	}
	return append(claims, seen...), nil
}

// witnessed are the checkpoints of a run that were cosigned; of an empty id, those of the machine's record.
func (v *verifier) witnessed(id string) ([]ledger.Claim, error) {
	if len(v.keys.Own) == 0 {
		return nil, nil
	}
	return v.machine.Witnessed(audit.OriginOf(v.keys.Own[0], id), v.keys) // all of them have the machine's name
}

// verifyMachine verifies the record of the machine, of which claims are known from runs. What it says is in v.history. What
// seems wrong is looked at again: a key may just have been made known, of which there is more than one file.
func (v *verifier) verifyMachine(ctx context.Context, claims []ledger.Claim) error {
	err := v.machineOnce(claims)
	if err != nil || len(v.history.Problems) == 0 {
		return err
	}
	if err := waitFor(ctx, auditPause); err != nil {
		return err
	}
	return v.machineOnce(claims)
}

func (v *verifier) machineOnce(claims []ledger.Claim) (err error) {
	if v.keys, err = v.machine.Keys(); err != nil {
		return err
	}
	seen, unreadable := v.witnessed("")
	if v.history, err = v.machine.VerifyMachine(v.keys, append(claims, seen...)); err != nil {
		return err
	}
	if unreadable != nil {
		what := fmt.Sprintf("what witnesses have seen of it: %v", unreadable)
		v.history.Problems = append(v.history.Problems, ledger.Problem{What: what})
	}
	return nil
}

// stateOf is what a run's run.json says.
func (v *verifier) stateOf(id string) ledger.State {
	if _, err := v.home.Get(id); err != nil {
		return ledger.State{Unknown: err}
	}
	data, err := os.ReadFile(filepath.Join(v.home.Dir(id), run.FileRecord))
	if err != nil {
		return ledger.State{Unknown: errors.New("it cannot be read")}
	}
	var rec run.Record
	var raw struct {
		Plan json.RawMessage `json:"plan"`
	}
	var plan bytes.Buffer
	if errors.Join(json.Unmarshal(data, &rec), json.Unmarshal(data, &raw)) != nil || json.Compact(&plan, raw.Plan) != nil {
		return ledger.State{Unknown: errors.New("it is not what moat writes")}
	}
	sum := sha256.Sum256(plan.Bytes())
	return ledger.State{
		Name: rec.Name, Created: rec.CreatedAt, Final: rec.State.Final(), Cleanup: rec.CleanupPending, State: string(rec.State), ExitCode: rec.ExitCode, Signal: rec.Signal,
		Reason: rec.Reason, Started: rec.StartedAt, Ended: rec.EndedAt, Plan: hex.EncodeToString(sum[:]),
	}
}
