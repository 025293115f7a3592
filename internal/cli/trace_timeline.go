package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"moat/internal/journal"
	"moat/internal/run"
)

// event is one line of a run's course, as "moat trace --json" prints it.
type event struct {
	T     time.Time `json:"t"`
	Event string    `json:"event"` // created, started, network, ended, and what the audit record has of others

	Host     *string    `json:"host"` // of network
	Requests *int64     `json:"requests"`
	Denied   *int64     `json:"denied"`
	BytesIn  *int64     `json:"bytes_in"`
	BytesOut *int64     `json:"bytes_out"`
	LastT    *time.Time `json:"last_t"`

	State    *run.State `json:"state"` // of ended
	ExitCode *int       `json:"exit_code"`
	Reason   *string    `json:"reason"`

	Detail *string        `json:"detail"` // of what the audit record has
	Entry  *int64         `json:"entry"`  // its number there
	Fields map[string]any `json:"fields"` // what it has (docs/formats.md)
}

// maxHosts is how many hosts are told apart: the sandbox can make up any number of names.
const maxHosts = 1000

// otherHosts stands for those beyond maxHosts. No host has a space.
const otherHosts = "other hosts"

// timeline prints a run's course: all that happened, in order. While it is followed a host is shown when it is first
// heard of, and what came of it at the end.
func timeline(ctx context.Context, w io.Writer, t *traffic, o traceOptions) error {
	print := func(w io.Writer, e event) error { return printEvent(w, e, o.verbose) }
	list := &jsonList{w: w, lines: o.follow}
	if o.json {
		print = func(_ io.Writer, e event) error { return list.add(e) }
	}
	happened, err := openHappened(t, o.verbose)
	if err != nil {
		return err
	}
	defer happened.close()
	events := happened.more() // first, to know the beginning
	events = append(happened.add(beginning(t.rec)), events...)
	if o.follow {
		for _, e := range events {
			if err := print(w, e); err != nil {
				return err
			}
		}
		events = nil
		flush := t.flush
		t.flush = func() error {
			for _, e := range happened.more() {
				if err := print(w, e); err != nil {
					return err
				}
			}
			return flush()
		}
	}
	hosts := map[string]*event{}
	for r, err := range t.requests(ctx) {
		if err != nil {
			return err
		}
		if e, first := groupByHost(hosts, r); first && o.follow && !o.json {
			if _, err := fmt.Fprintf(w, "%s  network   %s: first heard of\n", stamp(r.T), visible(*e.Host)); err != nil {
				return err
			}
		}
	}
	for _, e := range hosts {
		events = append(events, *e)
	}
	events = append(events, happened.more()...)
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(a.T.Compare(b.T), strings.Compare(hostOf(a), hostOf(b)))
	})
	for _, e := range append(events, happened.add(ending(t.rec))...) {
		if err := print(w, e); err != nil {
			return err
		}
	}
	if o.json {
		return list.end()
	}
	return nil
}

func hostOf(e event) string {
	if e.Host == nil {
		return ""
	}
	return *e.Host
}

func beginning(rec run.Record) []event {
	events := []event{{T: rec.CreatedAt, Event: "created"}}
	if rec.StartedAt != nil {
		events = append(events, event{T: *rec.StartedAt, Event: "started"})
	}
	return events
}

func ending(rec run.Record) []event {
	if !rec.State.Final() || rec.EndedAt == nil {
		return nil
	}
	return []event{{T: *rec.EndedAt, Event: "ended", State: &rec.State, ExitCode: rec.ExitCode, Reason: unlessEmpty(rec.Reason)}}
}

// groupByHost counts a request. first says that its host was not heard of before.
func groupByHost(hosts map[string]*event, r journal.Request) (e *event, first bool) {
	host := r.Host
	e, ok := hosts[host]
	if !ok && len(hosts) >= maxHosts {
		host = otherHosts
		e, ok = hosts[host]
	}
	if !ok {
		e = &event{T: r.T, Event: "network", Host: &host, Requests: new(int64), Denied: new(int64), BytesIn: new(int64), BytesOut: new(int64), LastT: &r.T}
		hosts[host] = e
	}
	if r.T.Before(e.T) {
		e.T = r.T
	}
	if r.T.After(*e.LastT) {
		e.LastT = &r.T
	}
	*e.Requests++
	*e.BytesIn += r.BytesIn
	*e.BytesOut += r.BytesOut
	if r.Decision == journal.Denied {
		*e.Denied++
	}
	return e, !ok
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// printEvent prints an event; whole also what its entry has.
func printEvent(w io.Writer, e event, whole bool) error {
	var what string
	switch {
	case e.Host != nil:
		what = fmt.Sprintf("%s: %s", visible(*e.Host), count(int(*e.Requests), "record"))
		if *e.Denied > 0 {
			what += fmt.Sprintf(", %d denied", *e.Denied)
		}
		what += fmt.Sprintf(", %s in, %s out", sizeText(*e.BytesIn), sizeText(*e.BytesOut))
		if e.LastT.After(e.T) {
			what += ", until " + stamp(*e.LastT)
		}
	case e.Detail != nil:
		what = visible(*e.Detail)
	case e.State != nil:
		what = string(*e.State)
		if e.ExitCode != nil {
			what += fmt.Sprintf(" with code %d", *e.ExitCode)
		}
		if e.Reason != nil {
			what += ": " + visible(*e.Reason)
		}
	}
	text := strings.TrimRight(fmt.Sprintf("%s  %-8s  %s", stamp(e.T), e.Event, what), " ") + "\n"
	if whole {
		for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
			value := fmt.Sprint(e.Fields[name])
			if list, ok := e.Fields[name].([]string); ok {
				value = fmt.Sprintf("%q", list) // so that they can be told apart
			}
			text += fmt.Sprintf("    %s: %s\n", name, visible(value))
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
