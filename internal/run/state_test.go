package run

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/states.md anew")

func TestNext(t *testing.T) {
	// Written down again on purpose: a change of the table has to be meant twice.
	want := map[State]string{
		Created:  "start→starting stop→stopping error→failed gone→lost",
		Starting: "up→running stop→stopping error→failed gone→lost",
		Running:  "end→exited stop→stopping error→failed gone→lost",
		Stopping: "end→stopped error→failed gone→lost",
	}
	for _, s := range append(States(), "", "paused") {
		var got []string
		for _, on := range append(Events(), "", "resume") {
			next, err := Next(s, on)
			if err == nil {
				got = append(got, fmt.Sprintf("%s→%s", on, next))
				continue
			}
			var te *TransitionError
			if !errors.As(err, &te) || te.State != s || te.Event != on || next != s {
				t.Errorf("Next(%q, %q) = %q, %v: not a TransitionError for it", s, on, next, err)
			}
		}
		if diff := cmp.Diff(sorted(want[s]), sorted(strings.Join(got, " "))); diff != "" {
			t.Errorf("from %q (-want +got):\n%s", s, diff)
		}
	}
}

func sorted(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

func TestTableProperties(t *testing.T) {
	seen := map[string]bool{}
	for _, tr := range Transitions() {
		key := string(tr.From) + "/" + string(tr.On)
		switch {
		case seen[key]:
			t.Errorf("%s is there twice", key)
		case !tr.From.Live():
			t.Errorf("%s leaves a final state", key)
		case !tr.To.Known():
			t.Errorf("%s leads to %q, which is no state", key, tr.To)
		case tr.From == Stopping && tr.To.Live():
			t.Errorf("%s goes back from stopping", key)
		case tr.When == "":
			t.Errorf("%s is not explained", key)
		}
		seen[key] = true
	}
}

// Whatever happens in whatever order, a run stays in the table, and it ends after few steps: there is no way round.
func TestAnySequenceOfEvents(t *testing.T) {
	events := append(Events(), "", "resume")
	for range 5000 {
		s, steps := Created, 0
		for range 40 {
			next, err := Next(s, events[rand.IntN(len(events))])
			if err == nil {
				steps++
			}
			if s.Final() && next != s {
				t.Fatalf("left %s for %s", s, next)
			}
			s = next
		}
		if !s.Known() || steps > 4 {
			t.Fatalf("arrived at %q after %d steps", s, steps)
		}
	}
}

func TestAsk(t *testing.T) {
	want := map[Verb]string{
		VerbAttach:  "waits waits allowed refused refused refused refused refused",
		VerbExec:    "waits waits allowed refused refused refused refused refused",
		VerbStop:    "allowed allowed allowed joins nothing nothing nothing nothing",
		VerbWait:    "joins joins joins joins allowed allowed allowed allowed",
		VerbLogs:    "allowed allowed allowed allowed allowed allowed allowed allowed",
		VerbDestroy: "force force force force allowed allowed allowed allowed",
	}
	for _, v := range Verbs() {
		var got []string
		for _, s := range States() {
			r := Ask(v, s)
			got = append(got, string(r.Answer))
			if helped := len(r.Try) > 0; helped != (r.Answer == Refused || r.Answer == Force) {
				t.Errorf("%s in %s: %s suggests %q", v, s, r.Answer, r.Try)
			}
		}
		if diff := cmp.Diff(want[v], strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v, diff)
		}
	}
	if got := Ask(VerbLogs, "paused").Answer; got != Refused {
		t.Errorf("a state that does not exist answers %s", got)
	}
}

const statesPath = "../../docs/states.md"

// TestStatesDocument keeps docs/states.md what the tables say; go generate writes it.
func TestStatesDocument(t *testing.T) {
	want := statesDocument()
	if *update {
		if err := os.WriteFile(statesPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(statesPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/states.md is not what the tables say; run go generate ./internal/run (-want +got):\n%s", diff)
	}
}

const statesIntro = "<!-- Made by go generate from the tables in internal/run. Do not edit. -->\n" + `
# What a run can be and do

A run is always in one of these states. Its supervisor is the only one that moves it to another, only along this
table, and the state is in the run's ` + "`run.json`" + `.

` + "```" + `
 created ──start──▶ starting ───up───▶ running ──end──▶ exited
    │                  │                  │
    └───────stop───────┴───────stop───────┤
                                          ▼
                                       stopping ──end──▶ stopped

 from each of these four:  error ──▶ failed     gone ──▶ lost
` + "```" + `

` + "`exited`, `stopped`, `failed` and `lost`" + ` are final. Nothing leads back: a run that is stopping never runs again.

## Transitions

`

const statesLife = `
An event that is not in the table is refused, and the run stays as it is.

## What is stored and what is so

The record is true while somebody holds the run's lock. When nobody does (guard and supervisor were killed, the
machine was restarted), the sandbox is asked:

| the record says | the sandbox | shown as | the next command that changes the run |
|---|---|---|---|
| a final state | is not asked | that state | finds it so |
| any other | runs | that state | takes it over and goes on |
| any other | is gone | lost | records it |
| any other | unknown: an error, no answer | that state, not verified | changes nothing that is stored |

## What a run answers

`

const statesAnswers = `
- **allowed**: done at once
- **waits**: waits for the next state, with a limit, and asks again
- **joins**: waits for the end
- **nothing**: succeeds, there is nothing to do
- **force**: only with ` + "`-f`" + `, which stops the run first
- **refused**: an error that says the state, when and how the run ended, and what to type: the command in brackets
`

func statesDocument() []byte {
	var b bytes.Buffer
	b.WriteString(statesIntro)
	b.WriteString("| state | event | next state | when |\n|---|---|---|---|\n")
	for _, tr := range Transitions() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", tr.From, tr.On, tr.To, tr.When)
	}
	b.WriteString(statesLife)
	b.WriteString("| |")
	for _, v := range Verbs() {
		fmt.Fprintf(&b, " %s |", v)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Verbs())) + "\n")
	for _, s := range States() {
		fmt.Fprintf(&b, "| %s |", s)
		for _, v := range Verbs() {
			b.WriteString(" " + cell(Ask(v, s)) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString(statesAnswers)
	return b.Bytes()
}

func cell(r Reply) string {
	if len(r.Try) == 0 {
		return string(r.Answer)
	}
	return fmt.Sprintf("%s (%s)", r.Answer, strings.Join(r.Try, ", "))
}
