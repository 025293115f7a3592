package supervisor

import (
	"slices"
	"sync"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

// typing is what clients send to the run's commands, where digests of that are entered. Then no client is given the
// command's terminal: every byte comes through here.
type typing struct {
	key []byte // nil: nothing of it is entered

	mu      sync.Mutex        // also while pieces are entered, so that they come in their order
	clients []*typed          // the oldest first: one that comes back goes on behind what it sent before
	entered map[string]uint64 // by source: the end of what was entered
}

// typed is the input of one client on one connection. A nil one is not entered.
type typed struct {
	*ledger.Input
	source string
	who    []audit.Field
}

// openTyping begins to enter digests, if the plan asks for it. A run does not start without, but it goes on without: that is
// entered.
func (a *auditor) openTyping() error {
	if !a.s.Folder.Record().Plan.AuditInput {
		return nil
	}
	if a.typing.entered = a.records.Inputs(); a.typing.entered == nil {
		a.typing.entered = make(map[string]uint64)
	}
	var err error
	if state := a.s.state(); state == run.Created || state == run.Starting {
		a.typing.key, err = ledger.NewInputKey(a.s.dir)
		return err
	}
	if a.typing.key, err = ledger.InputKey(a.s.dir); err == nil {
		return nil
	}
	a.s.Logger.Error("digests of input are not entered", "error", err)
	a.event("warning", audit.Text("text", "digests of input are not entered any more: "+err.Error()))
	return nil
}

// inputs reports whether digests of input are entered.
func (a *auditor) inputs() bool { return a != nil && a.typing.key != nil }

// listen begins with a client's input; done ends that, and enters what is left of it.
func (a *auditor) listen(source uint64, who ...audit.Field) (in *typed, done func()) {
	if !a.inputs() || source == 0 {
		return nil, func() {}
	}
	name := ledger.SourceText(source)
	in = &typed{ledger.NewInput(a.typing.key, name), name, who}
	a.typing.mu.Lock()
	defer a.typing.mu.Unlock()
	a.typing.clients = append(a.typing.clients, in)
	return in, func() {
		a.enterTyped()
		a.typing.mu.Lock()
		defer a.typing.mu.Unlock()
		a.typing.clients = slices.DeleteFunc(a.typing.clients, func(other *typed) bool { return other == in })
	}
}

// took takes in what a client has sent, before the command gets it.
func (a *auditor) took(in *typed, offset uint64, data []byte, eof bool) error {
	if in == nil {
		return nil
	}
	if err := in.Add(offset, data, eof); err != nil {
		return err
	}
	a.changed()
	return nil
}

// enterTyped enters what came of all clients since the last time.
func (a *auditor) enterTyped() {
	if !a.inputs() {
		return
	}
	a.typing.mu.Lock()
	defer a.typing.mu.Unlock()
	for _, in := range a.typing.clients {
		if p, ok := in.Take(); ok {
			a.enterPiece(in, p)
		}
	}
}

// enterPiece enters a piece, and before it what is missing: a predecessor passed that on and did not live to enter it.
// typing.mu is held.
func (a *auditor) enterPiece(in *typed, p ledger.Piece) {
	if known := a.typing.entered[in.source]; p.From > known {
		a.event("gap", audit.Text("what", "input"), audit.Text("source", in.source), audit.Number("lost", p.From-known),
			audit.Text("why", "a predecessor was ended by force before it had entered them"))
	}
	a.typing.entered[in.source] = max(a.typing.entered[in.source], p.To)
	a.event("input", append(p.Fields(in.source), in.who...)...)
}
