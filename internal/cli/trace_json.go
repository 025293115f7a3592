package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"moat/internal/journal"
)

// traced is one record as "moat trace --network --json" prints it: every field is always there.
type traced struct {
	T          time.Time `json:"t"`
	Kind       string    `json:"kind"`
	Method     *string   `json:"method"`
	URL        *string   `json:"url"`
	Host       string    `json:"host"`
	Address    *string   `json:"address"`
	Status     *int      `json:"status"`
	DurationMS *float64  `json:"duration_ms"`
	BytesIn    int64     `json:"bytes_in"`
	BytesOut   int64     `json:"bytes_out"`
	Decision   string    `json:"decision"`
	Rule       *string   `json:"rule"`
	Grant      *string   `json:"grant"`
	Error      *string   `json:"error"`

	RequestHeaders  map[string][]string `json:"request_headers"`
	ResponseHeaders map[string][]string `json:"response_headers"`
	RequestBody     *string             `json:"request_body"`
	ResponseBody    *string             `json:"response_body"`
	Truncated       bool                `json:"truncated"`

	ID       uint64  `json:"id"`
	SNI      *string `json:"sni"`
	Protocol *string `json:"protocol"`
}

func toTraced(r journal.Request) traced {
	return traced{
		T: r.T.UTC(), Kind: r.Kind, Method: unlessEmpty(r.Method), URL: unlessEmpty(r.URL), Host: r.Host, Address: unlessEmpty(r.Address),
		Status: r.Status, DurationMS: r.DurationMS, BytesIn: r.BytesIn, BytesOut: r.BytesOut, Decision: r.Decision,
		Rule: unlessEmpty(r.Rule), Grant: r.Grant, Error: r.Error,
		RequestHeaders: r.RequestHeaders, ResponseHeaders: r.ResponseHeaders,
		RequestBody: r.RequestBody, ResponseBody: r.ResponseBody, Truncated: r.Truncated,
		ID: r.ID, SNI: unlessEmpty(r.SNI), Protocol: unlessEmpty(r.Protocol),
	}
}

// unlessEmpty is nil for a text that is not known.
func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// traceJSON prints an array, or one object a line while it is followed: nobody could read an array that has no end.
func traceJSON(w io.Writer, requests iter.Seq2[journal.Request, error], lines bool) error {
	out := &jsonList{w: w, lines: lines}
	for r, err := range requests {
		if err == nil {
			err = out.add(toTraced(r))
		}
		if err != nil {
			return err
		}
	}
	return out.end()
}

// jsonList writes values as they come: as the elements of an array, or each in a line of its own.
type jsonList struct {
	w     io.Writer
	lines bool
	count int
}

func (l *jsonList) add(v any) error {
	before, indent := "[\n  ", "  "
	if l.count > 0 {
		before = ",\n  "
	}
	l.count++
	var text []byte
	var err error
	if l.lines {
		text, err = json.Marshal(v)
	} else {
		text, err = json.MarshalIndent(v, indent, indent)
	}
	if err == nil {
		text = journal.EscapeJSON(text)
		if l.lines {
			text = append(text, '\n')
		} else {
			text = append([]byte(before), text...)
		}
		_, err = l.w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

func (l *jsonList) end() error {
	if l.lines {
		return nil
	}
	text := "\n]\n"
	if l.count == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}
