package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// request is a record about a host.
func request(host string) Request {
	return Request{T: epoch, Kind: KindHTTP, Method: "GET", URL: "https://" + host + "/", Host: host, Decision: Allowed}
}

// ended is the same record, complete.
func ended(r Request, id uint64) Request {
	ms := 1.5
	r.ID, r.DurationMS = id, &ms
	return r
}

func openNetwork(t testing.TB, dir string) (*Network, NetworkRecovery) {
	t.Helper()
	n, cut, err := OpenNetwork(openRoot(t, dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n, cut
}

// requests reads all that is recorded in a folder.
func requests(t testing.TB, dir string) (list []Request, damaged int64) {
	t.Helper()
	r, err := OpenNetworkReader(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for req, err := range r.Requests() {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, req)
	}
	return list, r.Damaged()
}

// hosts are the records' hosts; those that are not complete have a question mark.
func hosts(list []Request) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d %s%s", r.ID, r.Host, map[bool]string{true: "?"}[r.DurationMS == nil]))
	}
	return strings.Join(out, ", ")
}

func TestNetworkComesBack(t *testing.T) {
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	status, ms, grant, body, failure := 200, 12.25, "github", "a\nb\x1b[31m\u009b\u202e\U000e0001\x7f", "reset"
	full := Request{
		T: epoch, Kind: KindHTTP, Method: "GET", URL: "https://a.example/?a=1&b=<2>", Host: "a.example", Address: "192.0.2.1:443",
		SNI: "a.example", Protocol: "h2", Status: &status, DurationMS: &ms, BytesIn: 1, BytesOut: 2, Decision: Allowed, Rule: "r",
		Grant: &grant, Error: &failure, RequestHeaders: map[string][]string{"Accept": {"a", "b"}},
		ResponseHeaders: map[string][]string{}, RequestBody: &body, ResponseBody: &body, Truncated: true,
	}
	full.ID = n.Begin(request("a.example"))
	second := n.Begin(request("b.example"))
	n.End(full)
	n.End(Request{T: epoch, Kind: KindDNS, Host: "c.example", Decision: Denied})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	got, damaged := requests(t, dir)
	if full.ID != 1 || second != 2 || damaged != 0 || hosts(got) != "1 a.example, 2 b.example?, 3 c.example" {
		t.Fatalf("IDs %d, %d; %d damaged; %s", full.ID, second, damaged, hosts(got))
	}
	full.ResponseHeaders = nil // empty is left out
	if diff := cmp.Diff(full, got[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if *got[2].DurationMS <= 0 {
		t.Errorf("a record without a duration got %v ms", *got[2].DurationMS)
	}
	text, err := os.ReadFile(filepath.Join(dir, NetworkName))
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("the file has a character that a terminal may obey, at %d", i)
	}
	if info, err := os.Stat(filepath.Join(dir, NetworkName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestNetworkFromManyGoroutines: nothing is lost, no ID is used twice, every line is whole.
func TestNetworkFromManyGoroutines(t *testing.T) {
	const goroutines, each = 32, 200
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				r := request(fmt.Sprintf("h%d-%d.example", g, i))
				r.URL += strings.Repeat("x", i*20)
				n.End(ended(r, n.Begin(r)))
			}
		})
	}
	all.Wait()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	got, damaged := requests(t, dir)
	seen := map[string]bool{}
	for i, r := range got {
		seen[r.Host] = true
		if r.ID != uint64(i+1) || r.DurationMS == nil {
			t.Fatalf("record %d is %d, duration %v", i, r.ID, r.DurationMS)
		}
	}
	if len(seen) != goroutines*each || damaged != 0 {
		t.Errorf("%d records, %d damaged", len(seen), damaged)
	}
}

// TestTornNetworkRecord cuts the file at every byte of its last line.
func TestTornNetworkRecord(t *testing.T) {
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	for _, host := range []string{"a.example", "b.example", "c.example"} {
		r := request(host)
		n.End(ended(r, n.Begin(r)))
	}
	n.Close()
	name := filepath.Join(dir, NetworkName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for size := last; size <= len(text); size++ {
		if err := os.WriteFile(name, text[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		wantCut, want := int64(size-last), "1 a.example, 2 b.example, 3 c.example?"
		if size == len(text) {
			wantCut, want = 0, "1 a.example, 2 b.example, 3 c.example"
		}
		if got, _ := requests(t, dir); hosts(got) != want {
			t.Fatalf("cut at %d a reader sees %s", size, hosts(got))
		}
		n, cut := openNetwork(t, dir)
		if cut.Cut != wantCut || cut.Damaged != 0 {
			t.Fatalf("cut at %d: %+v", size, cut)
		}
		if id := n.Begin(request("d.example")); id != 4 {
			t.Fatalf("cut at %d: the next ID is %d", size, id)
		}
		n.Close()
		if got, damaged := requests(t, dir); hosts(got) != want+", 4 d.example?" || damaged != 0 {
			t.Fatalf("cut at %d, then written on: %s, %d damaged", size, hosts(got), damaged)
		}
	}
}

// TestDamagedNetworkRecord: pages that never reached the disk are zero.
func TestDamagedNetworkRecord(t *testing.T) {
	whole := func(id uint64, host string) string { return string(encodeLine(ended(request(host), id))) }
	zeros := strings.Repeat("\x00", 4096)
	for name, test := range map[string]struct {
		text    string
		want    string
		cut     int64
		damaged int64
	}{
		"zeros at the end":      {whole(1, "a.example") + zeros, "1 a.example", 4096, 0},
		"zeros in the middle":   {whole(1, "a.example") + zeros + "\n" + whole(2, "b.example"), "1 a.example, 2 b.example", 0, 1},
		"zeros within a line":   {whole(1, "a.example")[:20] + zeros + whole(2, "b.example") + whole(3, "c.example"), "3 c.example", 0, 1},
		"no JSON":               {`{"id":1,"host":}` + "\n" + whole(2, "b.example"), "2 b.example", 0, 0},
		"wrong type":            {`{"id":1,"host":5}` + "\n" + whole(2, "b.example"), "2 b.example", 0, 0},
		"an ID that cannot be":  {`{"id":9223372036854775807,"host":"x"}` + "\n" + whole(2, "b.example"), "2 b.example", 0, 1},
		"ID 0":                  {whole(2, "b.example") + whole(0, "x"), "2 b.example", int64(len(whole(0, "x"))), 0},
		"a line without an end": {strings.Repeat("x", 3*maxLine), "", 3 * maxLine, 0},
		"a line that is too long": {whole(1, "a.example") + `{"id":2,"host":"` + strings.Repeat("x", 2*maxLine) + "\"}\n" + whole(3, "c.example"),
			"1 a.example, 3 c.example", 0, 1},
		"nothing": {"", "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, NetworkName), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, _ := requests(t, dir); hosts(got) != test.want {
				t.Errorf("a reader sees %s", hosts(got))
			}
			_, cut := openNetwork(t, dir)
			if cut.Cut != test.cut || cut.Damaged != test.damaged {
				t.Errorf("%+v, want %d cut, %d damaged", cut, test.cut, test.damaged)
			}
			if got, _ := requests(t, dir); hosts(got) != test.want {
				t.Errorf("after it was opened: %s", hosts(got))
			}
		})
	}
}

// TestForeignNetworkRecord: what no crash explains is not cut.
func TestForeignNetworkRecord(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, NetworkName))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(maxCut+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenNetwork(openRoot(t, dir), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened: %v", err)
	}
	if info, err := os.Stat(f.Name()); err != nil || info.Size() != maxCut+1 {
		t.Errorf("it was cut: %v, %v", info.Size(), err)
	}
}

// TestLargeNetworkRecord: a record that is too large for a line loses its largest parts and nothing else.
func TestLargeNetworkRecord(t *testing.T) {
	big := strings.Repeat("\x01", maxLine/4)
	for name, test := range map[string]struct {
		r    Request
		keep func(Request) bool
	}{
		"body":    {Request{Host: "a", RequestHeaders: map[string][]string{"A": {"b"}}, ResponseBody: &big}, func(r Request) bool { return r.RequestHeaders != nil }},
		"headers": {Request{Host: "a", RequestHeaders: map[string][]string{"A": {big}}}, func(r Request) bool { return r.Host == "a" }},
		"url":     {Request{Host: "a", URL: "http://a/" + big}, func(r Request) bool { return len(r.URL) == maxField }},
		"all":     {Request{Host: big, URL: big, Rule: big, Error: &big, Grant: &big}, func(r Request) bool { return len(r.Host) == maxField }},
	} {
		line := encodeLine(ended(test.r, 1))
		got, ok := decodeLine(line)
		if len(line) > maxLine || !ok || !got.Truncated || !test.keep(got) {
			t.Errorf("%s: a line of %d bytes: %.200s", name, len(line), line)
		}
		if len(big) != maxLine/4 {
			t.Fatalf("%s: what the caller holds was cut", name)
		}
	}
}

// TestFollowNetwork reads a record that another one writes.
func TestFollowNetwork(t *testing.T) {
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	slow, lost := request("slow.example"), request("lost.example")
	first := request("first.example")
	slow.ID = n.Begin(slow)
	lost.ID = n.Begin(lost)
	n.End(ended(first, n.Begin(first)))
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenNetworkReader(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	steps := []func(){
		func() { n.End(Request{Host: "dns.example"}) },
		func() {},
		func() { n.End(ended(slow, slow.ID)) },
	}
	wait := func() bool {
		steps[0]()
		steps = steps[1:]
		if err := n.Sync(); err != nil {
			t.Error(err)
		}
		return len(steps) > 0
	}
	var got []Request
	for req, err := range r.Follow(wait) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, req)
	}
	if want := "3 first.example, 4 dns.example, 1 slow.example, 2 lost.example?"; hosts(got) != want {
		t.Errorf("%s\nwant %s", hosts(got), want)
	}
	for range r.Follow(func() bool { t.Error("it asks for more after it was stopped"); return false }) {
		break
	}
}

// TestFollowHalfALine: what is on its way is not taken for damaged.
func TestFollowHalfALine(t *testing.T) {
	dir := t.TempDir()
	line := encodeLine(ended(request("a.example"), 1))
	f, err := os.Create(filepath.Join(dir, NetworkName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := OpenNetworkReader(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rest := line
	var got []Request
	for req, err := range r.Follow(func() bool {
		if _, err := f.Write(rest[:1]); err != nil {
			t.Fatal(err)
		}
		rest = rest[1:]
		return len(rest) > 0
	}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, req)
	}
	if hosts(got) != "1 a.example" || r.Damaged() != 0 {
		t.Errorf("%s, %d damaged", hosts(got), r.Damaged())
	}
}

func TestNetworkIsShut(t *testing.T) {
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
	n.End(request("late.example"))
	if got, _ := requests(t, dir); len(got) > 0 {
		t.Errorf("recorded after the end: %s", hosts(got))
	}
	if _, err := OpenNetworkReader(openRoot(t, t.TempDir())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record that is not there: %v", err)
	}
}

// FuzzNetworkLine: whatever the sandbox sends, a record is one harmless line that reads as what was recorded.
func FuzzNetworkLine(f *testing.F) {
	f.Add("a.example", "https://a.example/\n{\"id\":1}", "\x1b]0;x\x07", "\xff\x00")
	f.Add("\u2028\u202e", "\U000e0001", "\u009b", "\x7f")
	f.Fuzz(func(t *testing.T, host, url, header, body string) {
		r := ended(Request{Host: host, URL: url, RequestHeaders: map[string][]string{header: {host}}, ResponseBody: &body}, 7)
		line := encodeLine(r)
		text, ok := bytes.CutSuffix(line, []byte("\n"))
		if !ok || bytes.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("not one harmless line: %q", line)
		}
		if id, ok := lineID(text, 0); !ok || id != 7 {
			t.Errorf("not recognised: %q", line)
		}
		got, ok := decodeLine(line)
		valid := func(s string) string { return string([]rune(s)) } // JSON has no bytes that are no UTF-8
		if !ok || !got.Truncated && (got.Host != valid(host) || got.URL != valid(url) || *got.ResponseBody != valid(body)) {
			t.Errorf("read as %+v from %q", got, line)
		}
	})
}

// A record is written as encoding/json writes it.
func TestNetworkLineIsJSON(t *testing.T) {
	status, took, text := 204, 0.0000001, "a \"text\" \\ with\u202eeverything\x00\n"
	full := Request{
		ID: 7, T: time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC), Kind: KindHTTP, Method: "GET", URL: text, Host: "h", Address: "a:1", SNI: "s", Protocol: "h2",
		Status: &status, DurationMS: &took, BytesIn: 1, BytesOut: -2, Decision: Allowed, Rule: "r", Grant: &text, Error: &text,
		RequestHeaders: map[string][]string{"A": {text, ""}, "B": nil}, ResponseHeaders: map[string][]string{"C": {"d"}},
		RequestBody: &text, ResponseBody: &text, Truncated: true,
	}
	for _, r := range []Request{full, {}, {ID: 1, T: full.T.Truncate(time.Second)}} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b map[string]any
		if err := errors.Join(json.Unmarshal(want, &a), json.Unmarshal(encode(r), &b)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzNetworkReader: a file with anything in it is read to its end, and opened for writing without losing a whole line.
func FuzzNetworkReader(f *testing.F) {
	whole := string(encodeLine(ended(request("a.example"), 1)))
	f.Add(whole + whole[:50])
	f.Add("\n\n{\"id\":3,}\n" + whole)
	f.Add(strings.Replace(whole, `"id":1`, `"id":70000`, 1) + whole)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, NetworkName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := requests(t, dir)
		n, _ := openNetwork(t, dir)
		id := n.Begin(request("next.example"))
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		after, _ := requests(t, dir)
		if len(after) != len(before)+1 || after[len(after)-1].ID != id {
			t.Errorf("%s\nthen %s", hosts(before), hosts(after))
		}
	})
}

func TestEscapeJSON(t *testing.T) {
	for _, text := range []string{"plain", "é 漢 🙂", "\x7f", "\u009b", "\u202e", "\U000e0001\U000e0001", "\ufeff", "\u00ad"} {
		in, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		out := EscapeJSON(slices.Clone(in))
		var back string
		if err := json.Unmarshal(out, &back); err != nil || back != text {
			t.Errorf("%q became %s: %v", text, out, err)
		}
		if bytes.ContainsFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q became %s", text, out)
		}
	}
}

func BenchmarkNetworkRecord(b *testing.B) {
	n, _ := openNetwork(b, b.TempDir())
	r := request("api.example.com")
	b.ReportAllocs()
	for b.Loop() {
		n.End(ended(r, n.Begin(r)))
	}
	if err := n.Close(); err != nil {
		b.Error(err)
	}
}

func BenchmarkNetworkRead(b *testing.B) {
	dir := b.TempDir()
	n, _ := openNetwork(b, dir)
	const count = 100_000
	for range count {
		r := request("api.example.com")
		n.End(ended(r, n.Begin(r)))
	}
	n.Close()
	start := time.Now()
	for b.Loop() {
		if list, _ := requests(b, dir); len(list) != count {
			b.Fatal(len(list))
		}
	}
	b.ReportMetric(float64(count*b.N)/time.Since(start).Seconds(), "records/s")
}
