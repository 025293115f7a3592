package vt

// EventKind is what happened.
type EventKind int

// The kinds of events.
const (
	Bell         EventKind = iota // BEL
	TitleChange                   // Title has the new title
	Notification                  // OSC 9, 99 or 777: Title and Body
)

// Event is something that a person who is not looking may want to know.
// Its text comes from the program: C0 and C1 controls are taken out, and no
// more should be believed of it.
type Event struct {
	Kind        EventKind
	Title, Body string
}

// maxEvents bounds the list between two calls of TakeEvents. When it is full
// the oldest event is dropped.
const maxEvents = 128

func (t *Terminal) event(e Event) {
	if n := len(t.events); n > 0 && e.Kind != Notification && t.events[n-1].Kind == e.Kind {
		t.events[n-1] = e // a run of bells or titles is one
		return
	}
	if len(t.events) == maxEvents {
		t.events = append(t.events[:0], t.events[1:]...)
	}
	t.events = append(t.events, e)
}

// TakeEvents returns what happened since the last call.
func (t *Terminal) TakeEvents() []Event {
	e := t.events
	t.events = nil
	return e
}
