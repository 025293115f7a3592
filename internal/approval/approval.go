// Package approval remembers what a person let the agent.yaml of a workspace ask for.
//
// The agent can write the workspace, so that file is a request. This package compares what it asks for now with what
// was accepted last, says what of the difference widens the sandbox, and keeps what was accepted in $MOAT_HOME, where the
// sandbox cannot write. It promises that whatever widens is reported, in doubt too much; that narrowing is not; and that
// a stored approval that was changed or torn counts as none.
//
// What a file asks for is told to it as [Ask]s: it knows nothing of the file. Asking the person is left to the caller.
// docs/approval.md is the reference for people.
package approval

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Ask is one thing that a workspace's configuration asks for.
type Ask struct {
	// Topic is the key that it was written under, such as "network.allow".
	Topic string `json:"topic"`
	// Text is the value, for people. Topic and Text together are what the Ask is.
	Text string `json:"text"`

	// Narrows says that it takes something away from the sandbox. Then not it widens, but its loss.
	Narrows bool `json:"narrows,omitempty"`
	// Bound makes it a limit, of which the smaller one is the narrower: Text does not count. 0 is none.
	Bound int64 `json:"bound,omitempty"`
	// Within is the topic of an Ask that narrows and without which this one opens nothing: where there was none before,
	// what this one names was open anyway. Empty: it opens something in any case.
	Within string `json:"within,omitempty"`
}

// Line is one line of a difference.
type Line struct {
	Ask
	Added bool
}

// String is the line for a terminal: "+ grants: github". It has no control characters if the Ask has none.
func (l Line) String() string {
	return map[bool]string{true: "+ ", false: "- "}[l.Added] + l.Topic + ": " + l.Text
}

// Widens returns what of the difference between two lists widens the sandbox: what is new and opens something, and
// what is gone and kept something shut. For a workspace that was never accepted, old is what holds by default. New words
// for what is gone, such as rules that were changed, are shown beside it.
func Widens(old, now []Ask) []Line {
	before, after := index(old), index(now)
	var lines []Line
	lost := map[string]bool{} // topics of which something that narrows is gone
	for _, a := range old {
		if a.Narrows && !after.keepsShut(a) {
			lost[a.Topic] = true
			lines = append(lines, Line{Ask: a})
		}
	}
	for _, a := range now {
		opens := a.Within == "" || before.narrowed[a.Within]
		if a.Narrows {
			opens = lost[a.Topic]
		}
		if opens && !before.has[a] {
			lines = append(lines, Line{Ask: a, Added: true})
		}
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return strings.Compare(a.Topic, b.Topic) })
	return lines
}

// indexed is a list that is asked about often: the agent decides how long it is.
type indexed struct {
	has      map[Ask]bool
	narrowed map[string]bool  // topics of what narrows
	bounds   map[string]int64 // the lowest limit of each topic
}

func index(asks []Ask) indexed {
	x := indexed{has: map[Ask]bool{}, narrowed: map[string]bool{}, bounds: map[string]int64{}}
	for _, a := range asks {
		x.has[a] = true
		if a.Narrows {
			x.narrowed[a.Topic] = true
		}
		if lowest, ok := x.bounds[a.Topic]; a.Narrows && a.Bound > 0 && (!ok || a.Bound < lowest) {
			x.bounds[a.Topic] = a.Bound
		}
	}
	return x
}

// keepsShut reports whether what a keeps shut is kept shut by the list.
func (x indexed) keepsShut(a Ask) bool {
	if a.Bound > 0 {
		bound, ok := x.bounds[a.Topic]
		return ok && bound <= a.Bound
	}
	return x.has[a]
}

// normal returns the list sorted and each Ask once, so that the order of a file does not matter.
func normal(asks []Ask) []Ask {
	asks = slices.Clone(asks)
	slices.SortFunc(asks, compare)
	return slices.Compact(asks)
}

func compare(a, b Ask) int {
	narrows := map[bool]int{true: 1}
	return cmp.Or(
		strings.Compare(a.Topic, b.Topic), strings.Compare(a.Text, b.Text), strings.Compare(a.Within, b.Within),
		cmp.Compare(a.Bound, b.Bound), cmp.Compare(narrows[a.Narrows], narrows[b.Narrows]),
	)
}

// Digest identifies what a workspace asks for, whatever its order: SHA-256, in hexadecimal.
func Digest(workspace string, asks []Ask) string {
	text, err := json.Marshal(struct {
		Workspace string
		Asks      []Ask
	}{workspace, normal(asks)})
	if err != nil {
		panic("approval: texts and numbers that JSON cannot have: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
