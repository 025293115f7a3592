package cli

import "time"

// press decides what Ctrl+C means for a client that is attached to output only: one press detaches when the window
// for a second one has passed; a second one within it stops the run; a third one stops it at once.
type press struct {
	window  time.Duration
	first   time.Time // zero: none yet
	stopped bool
}

// what a press leads to.
type pressed int

const (
	pressWait pressed = iota // say what a second press does, and wait out the window
	pressStop                // stop the run
	pressKill                // it is being stopped: do not wait any longer
	pressLate                // the window has passed, though nobody acted on it yet: leave
)

// at is told of a press.
func (p *press) at(now time.Time) pressed {
	switch {
	case p.stopped:
		return pressKill
	case p.first.IsZero():
		p.first = now
		return pressWait
	case now.Sub(p.first) >= p.window:
		return pressLate
	default:
		p.stopped = true
		return pressStop
	}
}
