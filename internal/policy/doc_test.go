package policy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docTable returns the rows of the first table with this heading in docs/network-policy.md.
func docTable(t *testing.T, heading string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/network-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no table %q", heading)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var rows [][]string
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] { // below the rule
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 2 {
		t.Fatalf("the table %q has %d rows", heading, len(rows))
	}
	return rows
}

// codes returns what a cell has in backquotes.
func codes(cell string) []string {
	var out []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestDocSpecials(t *testing.T) {
	var got [][]string
	for _, s := range slices.Concat(specials.v4, specials.v6) {
		got = append(got, []string{"`" + s.prefix.String() + "`", s.class, s.source})
	}
	if diff := cmp.Diff(docTable(t, "| range | class | source |"), got); diff != "" {
		t.Error(diff)
	}
}

func TestDocPatterns(t *testing.T) {
	for _, row := range docTable(t, "| pattern | means | and not |") {
		pattern := codes(row[0])[0]
		p := compile(t, Config{Mode: Strict, Allow: []string{pattern}})
		for i, want := range []bool{true, false} {
			for _, host := range codes(row[i+1]) {
				if d := ask(t, p, host); d.Allow != want {
					t.Errorf("%s and %s: %+v", pattern, host, d)
				}
			}
		}
	}
	for _, row := range docTable(t, "| written | answer |") {
		written := codes(row[0])[0]
		_, err := ParsePattern(written)
		if want := "pattern " + quote(written) + ": " + row[1]; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", written, err, want)
		}
	}
}

func TestDocNames(t *testing.T) {
	for _, row := range docTable(t, "| written | read as |") {
		written := codes(row[0])[0]
		h, err := Name(written)
		if reason, refused := strings.CutPrefix(row[1], "refused: "); refused {
			if want := "host " + quote(written) + ": " + reason; err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", written, err, want)
			}
		} else if want := codes(row[1])[0]; err != nil || h.String() != want {
			t.Errorf("%s: %s, %v, want %s", written, h, err, want)
		}
	}
}

func TestDocPaths(t *testing.T) {
	for _, row := range docTable(t, "| on the wire | judged and forwarded as |") {
		written := codes(row[0])[0]
		got, err := NormalizePath(written)
		if row[1] == "refused" {
			if err == nil {
				t.Errorf("%s is read as %s", written, got)
			}
		} else if want := codes(row[1])[0]; err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", written, got, err, want)
		}
	}
}

func TestDocRules(t *testing.T) {
	for _, row := range docTable(t, "| rules | pass | are refused |") {
		p := compile(t, Config{Rules: []HostRules{{"a.example", codes(row[0])}}})
		for i, want := range []bool{true, false} {
			for _, request := range codes(row[i+1]) {
				method, path, _ := strings.Cut(request, " ")
				if d := ask(t, p, method+" a.example:443"+path); d.Allow != want {
					t.Errorf("%s and %s: %+v", row[0], request, d)
				}
			}
		}
	}
}
