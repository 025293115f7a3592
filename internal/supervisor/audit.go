package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"moat/internal/atomicfile"
	"moat/internal/audit"
	"moat/internal/journal"
	"moat/internal/journal/ledger"
	"moat/internal/plan"
	"moat/internal/run"
)

// When checkpoints are made.
const (
	signEvery    = time.Second            // at the latest after something was entered
	signAtMost   = 400 * time.Millisecond // apart, when somebody attaches or detaches
	machineEvery = 5 * time.Second        // between checkpoints that are entered in the machine's record
)

// auditor enters what happens to the run in its audit record. Entering never waits for the disk; only records of the network
// wait for room, in the goroutine that writes them.
type auditor struct {
	s       *supervisor
	log     *ledger.Log
	records ledger.Records
	machine *ledger.Machine

	news    chan struct{} // holds a token when something was entered
	hurry   chan struct{} // holds a token when it is to be signed at once
	rounded chan struct{} // holds a token when output was entered up to its end
	seen    atomic.Int64  // that end
	quit    chan struct{} // closed when the run ends: nobody waits for room any more
	dropped atomic.Int64  // events that found no room
	typing  typing        // what clients send

	begun    time.Time
	key      chan struct{} // closed when signer is set or never will be
	signer   *audit.Signer
	ended    atomic.Bool // the end of the run was entered
	signing  sync.Mutex  // one round at a time; guards what follows
	entered  time.Time   // when a checkpoint was last entered in the machine's record
	anchored bool        // what the machine's record was is entered
	synced   bool        // the names of the files are on the disk
}

// past is what a predecessor has entered.
type past struct {
	boot          string
	ended, closed bool
}

// openAudit opens the audit record, and enters what a predecessor did not live to enter.
func (s *supervisor) openAudit() (*auditor, error) {
	a := &auditor{
		s: s, begun: time.Now(), machine: ledger.OpenMachine(s.home()), quit: make(chan struct{}), key: make(chan struct{}),
		news: make(chan struct{}, 1), hurry: make(chan struct{}, 1), rounded: make(chan struct{}, 1),
	}
	var was past
	log, found, err := ledger.Open(s.dir, func(e audit.Entry) {
		a.records.Look(e)
		switch e.Kind {
		case "supervisor":
			was.boot, was.closed = e.Text("boot"), false
		case "ended":
			was.ended = true
		case "closed":
			was.closed = true
		}
	})
	if err != nil {
		return nil, err
	}
	a.log = log
	a.records.Begin(log, s.dir)
	a.ended.Store(was.ended)
	err = a.begin(found, was)
	if err == nil {
		err = a.openTyping()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return a, nil
}

// begin enters that a supervisor begins.
func (a *auditor) begin(found ledger.Recovery, was past) error {
	rec := a.s.Folder.Record()
	sum := planSum(rec.Plan)
	if found.Entries == 0 {
		a.event("created", createdFields(rec, sum, a.s.Version)...)
	} else if !was.closed {
		a.event("gap", audit.Text("what", "supervisor"), audit.Moment("from", found.Last), audit.Moment("to", time.Now()),
			audit.Text("why", "its predecessor was ended by force"))
	}
	a.event("supervisor", audit.Number("pid", os.Getpid()), audit.Number("attempt", rec.Attempts), audit.Text("boot", bootID()),
		audit.Text("moat", a.s.Version), audit.Text("plan", sum))
	if found.Entries == 0 {
		return nil
	}
	if n, _, err := journal.OpenNetwork(a.s.dir, nil); err == nil { // which cuts a torn end
		if err := n.Close(); err != nil {
			return err
		}
	}
	boot := bootID()
	output, index := a.s.output.Extent()
	if err := a.records.CatchUp(output, index, boot == "" || boot != was.boot); err != nil {
		return err
	}
	a.changed()
	return nil
}

// planSum is the digest of a plan as run.json has it, without white space.
func planSum(p plan.Plan) string {
	data, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("supervisor: a plan has no JSON: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func createdFields(rec run.Record, sum, version string) []audit.Field {
	p := rec.Plan
	var mounts, tools []string
	for _, m := range p.Mounts {
		text := m.Source + ":" + m.Target
		if m.ReadOnly {
			text += ":ro"
		}
		mounts = append(mounts, text)
	}
	for _, t := range p.Tools {
		tools = append(tools, t.Path)
	}
	network, _ := json.Marshal(p.Network) // it was read from JSON
	limits, _ := json.Marshal(p.Limits)
	user, _ := json.Marshal(p.User)
	fields := []audit.Field{
		audit.Text("run", rec.ID), audit.Text("name", rec.Name), audit.Moment("created_at", rec.CreatedAt), audit.Text("plan", sum), audit.Text("runtime", p.Runtime), audit.Text("image", p.Image),
		audit.List("command", p.Command), audit.Text("workspace", p.Workspace), audit.List("mounts", mounts), audit.List("tools", tools),
		audit.List("grants", p.Grants), audit.List("env", p.EnvNames), audit.Text("policy", string(network)), audit.Text("moat", version),
		audit.Text("kernel", kernel()), audit.Text("user", string(user)), audit.Text("limits", string(limits)),
	}
	if p.ImageDigest != "" {
		fields = append(fields, audit.Text("image_digest", p.ImageDigest))
	}
	if p.AuditInput {
		fields = append(fields, audit.Flag("audit_input", true))
	}
	return fields
}

// event enters something. What finds no room is counted, and that is entered when there is room again.
func (a *auditor) event(kind string, fields ...audit.Field) {
	if a == nil {
		return
	}
	if err := a.log.Append(time.Now(), kind, fields...); err != nil {
		a.dropped.Add(1)
		a.s.Logger.Error("an event could not be entered in the audit record", "event", kind, "error", err)
	} else if err := a.log.Flush(); err != nil {
		a.s.Logger.Warn("an event waits to be entered in the audit record", "event", kind, "error", err)
	}
	a.changed()
}

// changed tells the loop of news. It never blocks.
func (a *auditor) changed() { knock(a.news) }

// sign asks for a checkpoint now. It never blocks.
func (a *auditor) sign() {
	if a != nil {
		knock(a.hurry)
	}
}

func knock(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// network enters a line of the network record, and waits for room if it must.
func (a *auditor) network(w journal.Written) {
	defer a.changed()
	for {
		entered, err := a.records.Network(w)
		if entered {
			return // what could not be flushed waits
		}
		a.s.Logger.Warn("a network record waits to be entered in the audit record", "error", err)
		select {
		case <-a.quit:
			a.dropped.Add(1)
			return
		case <-time.After(roomRetry):
			_ = a.log.Flush() // Network says what is wrong
		}
	}
}

// end enters how the run ended, once.
func (a *auditor) end(rec run.Record) {
	if a == nil || a.ended.Swap(true) {
		return
	}
	a.enterTyped()
	a.event("ended", ledger.EndFields(ledger.State{
		State: string(rec.State), ExitCode: rec.ExitCode, Signal: rec.Signal, Reason: rec.Reason, Started: rec.StartedAt, Ended: rec.EndedAt,
	})...)
	a.sign()
}

// loop makes checkpoints until ctx is done.
func (a *auditor) loop(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { a.unlock(ctx) })
	group.Go(func() { a.watchOutput(ctx) })
	for {
		wait := signEvery - signAtMost // what came during the pause is that much older
		hurry := false
		select {
		case <-a.news:
		case <-a.hurry:
			// A run that has just begun keeps the disk for its start; its end is signed in any case.
			wait, hurry = signEvery-time.Since(a.begun), true
		case <-ctx.Done():
			return ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-a.hurry:
			hurry = true
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
		a.round(hurry)
		if err := sleep(ctx, signAtMost); err != nil {
			return err
		}
	}
}

// watchOutput tells the loop that there is output to be entered.
func (a *auditor) watchOutput(ctx context.Context) {
	for {
		if _, err := a.s.output.Wait(ctx, a.seen.Load()); err != nil {
			return
		}
		a.changed()
		select {
		case <-a.rounded:
		case <-ctx.Done():
			return
		}
	}
}

// round enters output, signs, and returns when that is on the disk; with enter also in the machine's record, where it
// comes anyway from time to time.
func (a *auditor) round(enter bool) {
	a.signing.Lock()
	defer a.signing.Unlock()
	output, index := a.s.output.Extent()
	if err := a.records.Output(output, index); err != nil {
		a.s.Logger.Error("output could not be entered in the audit record", "error", err)
	}
	a.enterTyped()
	a.seen.Store(output)
	knock(a.rounded)
	if n := a.dropped.Swap(0); n > 0 {
		err := a.log.Append(time.Now(), "gap", audit.Text("what", "audit"), audit.Number("entries", n), audit.Text("why", "there was no room for them"))
		if err != nil {
			a.dropped.Add(n)
		}
	}
	if err := a.seal(enter); err != nil {
		a.s.Logger.Error("the audit record could not be signed", "error", err)
	}
}

// seal signs and syncs what was entered.
func (a *auditor) seal(enter bool) error {
	if !a.synced {
		if err := errors.Join(atomicfile.SyncDir(a.s.dir, ledger.Dir), atomicfile.SyncDir(a.s.dir, ".")); err != nil {
			return err
		}
		a.synced = true
	}
	select {
	case <-a.key:
	default:
		return errors.Join(a.log.Flush(), a.log.Sync()) // it is signed when the key is there
	}
	if a.signer == nil {
		return errors.Join(a.log.Flush(), a.log.Sync())
	}
	id := a.s.Folder.Record().ID
	signed, err := a.log.Sign(audit.OriginOf(a.signer.Key, id), a.signer)
	if err != nil || signed == nil {
		return err
	}
	if err := a.log.Sync(); err != nil {
		return err
	}
	if !enter && time.Since(a.entered) < machineEvery {
		return nil
	}
	head, err := a.machine.EnterRun(a.signer, id, signed)
	if err != nil {
		return err
	}
	a.entered = time.Now()
	if !a.anchored {
		a.anchored = true
		a.event("anchor", audit.Text("origin", head.Origin), audit.Number("size", head.Size), audit.Text("root", head.Root.String()))
	}
	return nil
}

// close enters the end of the other records, which are closed, and makes the last checkpoint. final says that the run is
// over, and nothing follows. The loop has ended.
func (a *auditor) close(final bool) error {
	if !final {
		return a.log.Close()
	}
	a.anchored = true // nothing follows
	a.round(true)     // before it is closed, so that a closed one is known to the machine's record
	output, index := a.s.output.Extent()
	if a.dropped.Load() == 0 {
		if err := a.records.Close(output, index); err != nil {
			return errors.Join(err, a.log.Close())
		}
	}
	a.round(true)
	return a.log.Close()
}
