package run

import "moat/internal/sandbox"

// Life is what can be said about a run now, from its record, its lock and its sandbox. Nothing of it is stored.
type Life struct {
	State State
	// Adoptable: the sandbox lives and nobody looks after it. Whoever takes the lock can go on.
	Adoptable bool
	// Unverified: nobody looks after it and the runtime could not say whether the sandbox lives. State is what
	// was recorded last, and stays recorded.
	Unverified bool
}

// Effective joins the three sources. While somebody holds the lock the record is true and the runtime need not
// be asked: its answer is not looked at.
func Effective(rec Record, locked bool, sb sandbox.State) Life {
	switch {
	case rec.State.Final(), locked:
		return Life{State: rec.State}
	case sb == sandbox.Running:
		return Life{State: rec.State, Adoptable: true}
	case sb == sandbox.Gone:
		return Life{State: Lost}
	default:
		return Life{State: rec.State, Unverified: true}
	}
}
