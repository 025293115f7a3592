package run

import (
	"fmt"
	"strings"
	"time"
)

// Verb is what somebody may ask of a run.
type Verb string

// Verbs whose answer depends on the state.
const (
	VerbAttach  Verb = "attach"
	VerbExec    Verb = "exec"
	VerbStop    Verb = "stop"
	VerbWait    Verb = "wait"
	VerbLogs    Verb = "logs"
	VerbDestroy Verb = "destroy"
)

// Verbs are all of them.
func Verbs() []Verb {
	return []Verb{VerbAttach, VerbExec, VerbStop, VerbWait, VerbLogs, VerbDestroy}
}

// Answer is what a run in some state replies to a verb.
type Answer string

// Answers. The zero value belongs to no state and no verb.
const (
	Allowed Answer = "allowed" // done at once
	Waits   Answer = "waits"   // waits, with a limit, for the next state and asks again
	Joins   Answer = "joins"   // the same is being done already; waits for its end
	Nothing Answer = "nothing" // succeeds, there is nothing to do
	Force   Answer = "force"   // refused, unless forced: then it is stopped first
	Refused Answer = "refused" // a *StateError
)

// Reply is an Answer with the verb that helps where it is not what was wanted.
type Reply struct {
	Answer Answer
	Try    []string // moat's commands to suggest, without the run
}

// Ask is the one table of what a run answers in each state.
func Ask(v Verb, s State) Reply {
	if !s.Known() {
		return Reply{Answer: Refused}
	}
	switch v {
	case VerbAttach, VerbExec:
		return askInside(s)
	case VerbStop:
		return askStop(s)
	case VerbWait:
		if s.Final() {
			return Reply{Answer: Allowed}
		}
		return Reply{Answer: Joins}
	case VerbLogs:
		return Reply{Answer: Allowed}
	case VerbDestroy:
		if s.Final() {
			return Reply{Answer: Allowed}
		}
		return Reply{Force, []string{"stop", "destroy -f"}}
	}
	return Reply{Answer: Refused}
}

// askInside answers whoever wants to reach the command or its sandbox.
func askInside(s State) Reply {
	switch {
	case s == Running:
		return Reply{Answer: Allowed}
	case s == Created, s == Starting:
		return Reply{Answer: Waits}
	case s == Stopping:
		return Reply{Refused, []string{"logs -f", "wait"}}
	default:
		return Reply{Refused, []string{"logs", "run"}}
	}
}

func askStop(s State) Reply {
	switch {
	case s.Final():
		return Reply{Answer: Nothing}
	case s == Stopping:
		return Reply{Answer: Joins}
	default:
		return Reply{Answer: Allowed}
	}
}

// StateError says that a run cannot do what was asked because of its state, and how it came there.
type StateError struct {
	Verb   Verb
	Record Record
}

func (e *StateError) Error() string {
	return fmt.Sprintf("cannot %s: %s (%s) %s", e.Verb, e.Record.ID, e.Record.Name, e.Record.Describe())
}

// Try are moat's commands to suggest, without the run.
func (e *StateError) Try() []string { return Ask(e.Verb, e.Record.State).Try }

// Describe tells in words what the run is doing or when and how it ended: "exited with code 3 at …".
func (r Record) Describe() string {
	var b strings.Builder
	switch {
	case r.State.Live():
		fmt.Fprintf(&b, "is %s", r.State)
	case r.State == Lost:
		b.WriteString("was lost")
	default:
		b.WriteString(string(r.State))
	}
	switch {
	case r.Signal != 0:
		fmt.Fprintf(&b, " by signal %d", r.Signal)
	case r.ExitCode != nil:
		fmt.Fprintf(&b, " with code %d", *r.ExitCode)
	}
	if r.EndedAt != nil {
		fmt.Fprintf(&b, " at %s", r.EndedAt.UTC().Format(time.RFC3339))
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	return b.String()
}
