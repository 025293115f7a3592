package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
)

// happened is what the audit record of a run has for its course, besides what the run's own record and that of the network
// tell. It is not verified here.
type happened struct {
	log  *ledger.Reader // nil: there is none
	all  bool           // of no interest to most people, too
	told map[string]audit.Entry
}

// openHappened opens the record. Of requests and output, of which there are many, nobody is ever told each entry.
func openHappened(t *traffic, all bool) (*happened, error) {
	root, err := os.OpenRoot(t.home.Dir(t.rec.ID))
	if err != nil {
		return nil, fmt.Errorf("read the audit record: %w", err)
	}
	defer root.Close()
	log, err := ledger.OpenReader(root)
	if errors.Is(err, fs.ErrNotExist) {
		return &happened{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &happened{log: log, all: all, told: make(map[string]audit.Entry)}, nil
}

func (h *happened) close() {
	if h.log != nil {
		h.log.Close() // only read
	}
}

// more is what was entered since the last time, as far as it can be read.
func (h *happened) more() []event {
	if h.log == nil {
		return nil
	}
	var events []event
	for data, err := range h.log.More() {
		var e audit.Entry
		if err != nil || e.Parse(data) != nil {
			break // "moat audit" says what is wrong
		}
		switch detail, ok := detailOf(e); {
		case e.Kind == "created" || e.Kind == "started" || e.Kind == "ended":
			h.told[e.Kind] = e // it is told by run.json
		case ok || h.all && e.Kind != "network" && e.Kind != "output":
			events = append(events, event{T: e.Time, Event: e.Kind, Detail: &detail}.of(e))
		}
	}
	return events
}

// add adds what the record has of events that are told by run.json.
func (h *happened) add(events []event) []event {
	for i, e := range events {
		if entry, ok := h.told[e.Event]; ok {
			events[i] = e.of(entry)
		}
	}
	return events
}

// of is the event with the entry that it was read from.
func (e event) of(entry audit.Entry) event {
	e.Entry, e.Fields = &entry.Seq, make(map[string]any, len(entry.Fields))
	for _, f := range entry.Fields {
		e.Fields[f.Name] = map[audit.FieldType]any{audit.IsText: f.Text, audit.IsNumber: f.Num, audit.IsFlag: f.Num == 1, audit.IsList: f.List}[f.Type]
	}
	return e
}

// detailOf says in words what an entry means; false for what is told another way.
func detailOf(e audit.Entry) (string, bool) {
	switch e.Kind {
	case "attach":
		return fmt.Sprintf("uid %d, %s", e.Number("uid"), modeText(e)), true
	case "detach":
		if e.Text("reason") == ledger.RunEnded {
			return "", false // as the next line says
		}
		return fmt.Sprintf("uid %d, %s: %s", e.Number("uid"), modeText(e), e.Text("reason")), true
	case "exec":
		args, _ := e.Get("args")
		return fmt.Sprintf("uid %d: %s", e.Number("uid"), strings.Join(args.List, " ")), true
	case "exec_end":
		return fmt.Sprintf("code %d %s", e.Number("code"), e.Text("error")), true
	case "credential":
		if e.Text("result") == "used" {
			return "", false // the network's records tell that
		}
		text := fmt.Sprintf("%s was %s for %s", e.Text("grant"), e.Text("result"), e.Text("host"))
		if status := e.Number("status"); status >= 0 {
			text += fmt.Sprintf(" with status %d", status)
		}
		return text, true
	case "policy":
		return fmt.Sprintf("uid %d allowed %s", e.Number("uid"), e.Text("allow")), true
	case "input":
		return fmt.Sprintf("uid %d, %s", e.Number("uid"), inputText(e)), true
	case "stop":
		return fmt.Sprintf("asked for by uid %d", e.Number("uid")), true
	case "warning":
		return e.Text("text"), true
	case "gap":
		return ledger.GapText(&e), true
	case "cut":
		return fmt.Sprintf("%d bytes of the audit record were torn", e.Number("bytes")), true
	}
	return "", false
}

// inputText says how much was typed, and where.
func inputText(e audit.Entry) string {
	text := count(int(e.Number("to")-e.Number("from")), "byte")
	if terminal := e.Text("terminal"); terminal != "" {
		text += " on terminal " + terminal
	}
	if number := e.Number("number"); number >= 0 {
		text += fmt.Sprintf(" for command %d", number)
	}
	return text
}

// modeText says how a client was attached.
func modeText(e audit.Entry) string {
	if t := e.Text("terminal"); t != "" {
		return e.Text("mode") + " on terminal " + t
	}
	return e.Text("mode")
}
