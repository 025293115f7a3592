package run

import (
	"fmt"
)

// State is what a run is doing, as its record says.
type State string

// States. A run is live until it reaches one of the four final ones, and then it never changes again.
const (
	Created  State = "created"  // the folder exists
	Starting State = "starting" // the sandbox is being made
	Running  State = "running"  // the command runs
	Stopping State = "stopping" // a stop was asked for, or is being carried out
	Stopped  State = "stopped"  // ended because a stop was asked for
	Exited   State = "exited"   // the command ended by itself
	Failed   State = "failed"   // moat could not start or keep it; the reason is kept
	Lost     State = "lost"     // supervisor and sandbox went away together; nobody saw the end
)

// States are all of them, in the order of a run's life.
func States() []State {
	return []State{Created, Starting, Running, Stopping, Stopped, Exited, Failed, Lost}
}

// Known reports whether s is a state at all.
func (s State) Known() bool { return s.Live() || s.Final() }

// Live reports whether something may still happen to a run in this state.
func (s State) Live() bool {
	return s == Created || s == Starting || s == Running || s == Stopping
}

// Final reports whether the state never changes again.
func (s State) Final() bool {
	return s == Stopped || s == Exited || s == Failed || s == Lost
}

// Event is what may happen to a run.
type Event string

// Events.
const (
	EventStart Event = "start" // the supervisor begins to make the sandbox
	EventUp    Event = "up"    // the command was started
	EventEnd   Event = "end"   // the command ended and its output is recorded
	EventStop  Event = "stop"  // somebody asked for a stop
	EventError Event = "error" // moat cannot go on; what was set up has been taken down
	EventGone  Event = "gone"  // it was found without supervisor and without sandbox
)

// Events are all of them.
func Events() []Event {
	return []Event{EventStart, EventUp, EventEnd, EventStop, EventError, EventGone}
}

// Transition is one line of the table.
type Transition struct {
	From State
	On   Event
	To   State
	When string // what has happened, for the documentation
}

// Transitions is the one table of what may happen to a run. What is not in it cannot happen.
func Transitions() []Transition {
	return []Transition{
		{Created, EventStart, Starting, "the supervisor begins to make the sandbox"},
		{Created, EventStop, Stopping, "stopped before it was started"},
		{Created, EventError, Failed, "the supervisor could not be started"},
		{Created, EventGone, Lost, "killed before it was started"},
		{Starting, EventUp, Running, "the command was started"},
		{Starting, EventStop, Stopping, "stopped while it was being started"},
		{Starting, EventError, Failed, "the sandbox or the command could not be started; all of it was rolled back"},
		{Starting, EventGone, Lost, "killed while it was being started"},
		{Running, EventEnd, Exited, "the command ended by itself"},
		{Running, EventStop, Stopping, "somebody asked for a stop"},
		{Running, EventError, Failed, "the sandbox ended under the command"},
		{Running, EventGone, Lost, "supervisor and sandbox went away together (reboot, kill)"},
		{Stopping, EventEnd, Stopped, "the command ended after the stop, and everything was taken down"},
		{Stopping, EventError, Failed, "the sandbox could not be taken down"},
		{Stopping, EventGone, Lost, "supervisor and sandbox went away before the end was recorded"},
	}
}

// TransitionError says that an event cannot happen in a state.
type TransitionError struct {
	State State
	Event Event
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("a run that is %q cannot take the event %q", e.State, e.Event)
}

// Next is the state after an event; a *TransitionError if the table does not have it.
func Next(s State, on Event) (State, error) {
	for _, t := range Transitions() {
		if t.From == s && t.On == on {
			return t.To, nil
		}
	}
	return s, &TransitionError{State: s, Event: on}
}
