package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"moat/internal/audit"
	"moat/internal/journal"
	"moat/internal/run"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain é 漢 'a' \\": "plain é 漢 'a' \\", "a\tb\nc\r": `a\tb\nc\r`, "\x1b[31m\x07": `\x1b[31m\a`, "\x7f\u009b": `\x7f\u009b`,
		"a\u202eb\u200b\ufeff": `a\u202eb\u200b\ufeff`, "\U000e0001": `\U000e0001`, "\xff\xfe": `\xff\xfe`, "\ufffd": "\ufffd", "\u2028": `\u2028`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzTraceIsHarmless(f *testing.F) {
	f.Add("a.example", "http://a.example/\x1b]0;x\x07", "X-\u202eA", "b\r\n\u009bc")
	f.Fuzz(func(t *testing.T, host, url, header, body string) {
		ms := 1.0
		r := journal.Request{
			Kind: host, Method: url, Host: host, URL: url, Address: header, SNI: body, Protocol: header, Rule: body, Decision: journal.Denied,
			Grant: &host, Error: &url, DurationMS: &ms, RequestHeaders: map[string][]string{header: {body}}, ResponseBody: &body,
		}
		var out bytes.Buffer
		row(&out, r, true)
		details(&out, r)
		hosts := map[string]*event{}
		e, _ := groupByHost(hosts, r)
		if err := printEvent(&out, *e, true); err != nil {
			t.Fatal(err)
		}
		list := jsonList{w: &out, lines: true}
		if err := list.add(toTraced(r)); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(out.Bytes(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("not harmless: %q", out.Bytes()[i:])
		}
	})
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1023: "1023", 1024: "1.0K", 1536: "1.5K", 1023 << 10: "1.0M", 1 << 20: "1.0M", 5 << 30: "5.0G", 1<<63 - 1: "8.0E",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestTraceTarget(t *testing.T) {
	for want, r := range map[string]journal.Request{
		"a.example/x?y":            {Kind: "http", Host: "a.example", URL: "https://a.example/x?y", Address: "192.0.2.1:443"},
		"http://a.example:8080/":   {Kind: "http", Host: "a.example", URL: "http://a.example:8080/"},
		"a.example https://b.test": {Kind: "http", Host: "a.example", URL: "https://b.test"},
		"a.example:22":             {Kind: "tcp", Host: "a.example", Address: "192.0.2.1:22"},
		"[2001:db8::1]:22":         {Kind: "tcp", Host: "2001:db8::1", Address: "[2001:db8::1]:22"},
		"b.example":                {Kind: "dns", Host: "b.example", Address: "192.0.2.1:53"},
		"c.example":                {Kind: "connect", Host: "c.example"},
	} {
		if got := target(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTraceJSON: the fields are those that are promised, in any case.
func TestTraceJSON(t *testing.T) {
	var out bytes.Buffer
	one := func(yield func(journal.Request, error) bool) {
		yield(journal.Request{Host: "a\u202e.example", Decision: "allow"}, nil)
	}
	if err := traceJSON(&out, one, false); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 1 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	for _, field := range strings.Fields("t kind method url host address status duration_ms bytes_in bytes_out decision rule grant error " +
		"request_headers response_headers request_body response_body truncated") {
		if _, ok := got[0][field]; !ok {
			t.Errorf("there is no %s", field)
		}
	}
	for _, field := range strings.Fields("method url address status duration_ms rule grant error request_headers request_body") {
		if got[0][field] != nil {
			t.Errorf("%s is %v, want null", field, got[0][field])
		}
	}
	if strings.Contains(out.String(), "\u202e") || got[0]["host"] != "a\u202e.example" {
		t.Errorf("host: %s", out.String())
	}
	out.Reset()
	if err := traceJSON(&out, func(func(journal.Request, error) bool) {}, false); err != nil || out.String() != "[]\n" {
		t.Errorf("nothing is %q, %v", out.String(), err)
	}
}

// TestGroupByHostIsBounded: the sandbox may ask for any number of names.
func TestGroupByHostIsBounded(t *testing.T) {
	hosts := map[string]*event{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const many = 3 * maxHosts
	for i := range many {
		groupByHost(hosts, journal.Request{T: at.Add(time.Duration(i) * time.Second), Host: fmt.Sprint("h", i), Decision: journal.Denied, BytesIn: 2})
	}
	rest := hosts[otherHosts]
	if len(hosts) != maxHosts+1 || *rest.Requests != many-maxHosts || *rest.Denied != many-maxHosts || *rest.BytesIn != 2*(many-maxHosts) {
		t.Errorf("%d hosts, the others: %+v", len(hosts), rest)
	}
	if want := at.Add((many - 1) * time.Second); !rest.LastT.Equal(want) || !rest.T.Equal(at.Add(maxHosts*time.Second)) {
		t.Errorf("the others: from %v to %v", rest.T, rest.LastT)
	}
}

func TestPrintEvent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	code, failed := 3, run.Exited
	hosts := map[string]*event{}
	groupByHost(hosts, journal.Request{T: at, Host: "a\x1b.example", BytesIn: 2048, BytesOut: 3})
	e, _ := groupByHost(hosts, journal.Request{T: at.Add(time.Second), Host: "a\x1b.example", Decision: journal.Denied})
	var out bytes.Buffer
	entry := audit.Entry{Seq: 7, Time: at, Kind: "created", Fields: []audit.Field{
		audit.List("command", []string{"ls", "a\x1bb"}), audit.Number("n", -1), audit.Flag("on", true), audit.Text("text", "\u202ex"),
	}}
	for _, e := range []event{
		event{T: at, Event: "created"}.of(entry), *e, {T: at, Event: "ended", State: &failed, ExitCode: &code, Reason: unlessEmpty("why\n")},
	} {
		if err := printEvent(&out, e, true); err != nil {
			t.Fatal(err)
		}
	}
	want := `2026-01-02 03:04:05.678  created
    command: ["ls" "a\x1bb"]
    n: -1
    on: true
    text: \u202ex
2026-01-02 03:04:05.678  network   a\x1b.example: 2 records, 1 denied, 2.0K in, 3 out, until 2026-01-02 03:04:06.678
2026-01-02 03:04:05.678  ended     exited with code 3: why\n
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
