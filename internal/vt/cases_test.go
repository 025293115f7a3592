package vt

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "ask the oracles and rewrite the golden files")

// smallCase is a line of testdata/cases.txt.
type smallCase struct {
	name, note string
	cols, rows int
	data       []byte
}

func readCases(t testing.TB) []smallCase {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []smallCase
	var group string
	var cols, rows int
	for n, line := range strings.Split(string(b), "\n") {
		switch {
		case line == "":
		case strings.HasPrefix(line, "# "):
			group = line[2:]
		case strings.HasPrefix(line, "@ "):
			if _, err := fmt.Sscanf(line, "@ %dx%d", &cols, &rows); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
		default:
			f := strings.SplitN(line, " | ", 3)
			s, err := strconv.Unquote(`"` + quoteBare(f[1]) + `"`)
			if err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
			c := smallCase{name: group + "/" + f[0], cols: cols, rows: rows, data: []byte(s)}
			if len(f) > 2 {
				c.note = f[2]
			}
			out = append(out, c)
		}
	}
	return out
}

// quoteBare escapes what a Go string literal does not allow bare.
func quoteBare(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\"`, `"`), `"`, `\"`)
}

// golden is what both oracles saw.
type golden struct{ Tmux, Xterm seen }

func readGolden(t testing.TB, path string, v any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bufio.NewReader(z)).Decode(v); err != nil {
		t.Fatal(err)
	}
}

func writeGolden(t testing.TB, path string, v any) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

const casesGolden = "testdata/cases.golden.gz"

// TestOracleCases asks the oracles about every small case.
func TestOracleCases(t *testing.T) {
	tmux, xterm := openOracles(t)
	all := map[string]golden{}
	for _, c := range readCases(t) {
		if _, ok := all[c.name]; ok {
			t.Fatalf("two cases are called %q", c.name)
		}
		all[c.name] = ask(t, tmux, xterm, recording{c.name, c.cols, c.rows, nil}, step{data: c.data})
	}
	checkGolden(t, casesGolden, all)
}

// ask asks both oracles.
func ask(t *testing.T, tmux, xterm oracle, r recording, steps ...step) (g golden) {
	t.Helper()
	var err error
	if g.Tmux, err = tmux.run(r.cols, r.rows, steps...); err != nil {
		t.Fatalf("%s: tmux: %v", r.name, err)
	}
	if g.Xterm, err = xterm.run(r.cols, r.rows, steps...); err != nil {
		t.Fatalf("%s: xterm.js: %v", r.name, err)
	}
	return g
}

// checkGolden compares what the oracles say now with the golden file, or
// rewrites it with -update.
func checkGolden[T any](t *testing.T, path string, now T) {
	t.Helper()
	if *update {
		writeGolden(t, path, now)
		return
	}
	out, err := exec.Command("tmux", "-V").Output()
	if v := strings.TrimSpace(string(out)); err != nil || v != goldenTmux {
		t.Skipf("the golden files are of %s, here is %s", goldenTmux, v)
	}
	var stored T
	readGolden(t, path, &stored)
	if d := cmp.Diff(stored, now); d != "" {
		t.Errorf("%s is not what the oracles say; rewrite it with -update (-stored +now):\n%.2000s", path, d)
	}
}

// goldenTmux is the version of tmux that the golden files come from.
const goldenTmux = "tmux 3.3a"

// TestCases compares every small case, cell by cell, with what both oracles
// say. Where they differ, or lack what xterm documents, the case says whom we
// follow and why.
func TestCases(t *testing.T) {
	var all map[string]golden
	readGolden(t, casesGolden, &all)
	for _, c := range readCases(t) {
		t.Run(c.name, func(t *testing.T) {
			g, ok := all[c.name]
			if !ok {
				t.Fatal("not in the golden file: run with the oracles and -update")
			}
			term := New(c.cols, c.rows, Options{})
			term.Write(c.data)
			ours := observe(term)
			if c.note == "" {
				for _, d := range disagreement(ours, g.Tmux, g.Xterm) {
					t.Errorf("%q: %s", c.data, d)
				}
				if d := between(g.Tmux, g.Xterm); len(d) > 0 {
					t.Errorf("%q: tmux and xterm.js differ (%s) and the case does not say what decides; we follow %s", c.data, d[0], follows(ours, g))
				}
				return
			}
			if who, _, _ := strings.Cut(c.note, ": "); who != follows(ours, g) {
				t.Errorf("%q: the note says %q, but we follow %s\ntmux: %q\nxterm.js: %q", c.data, c.note, follows(ours, g),
					between(ours, g.Tmux), between(ours, g.Xterm))
			}
		})
	}
}

// follows is the oracle that ours is equal to.
func follows(ours seen, g golden) string {
	a, b := len(between(ours, g.Tmux)) == 0, len(between(ours, g.Xterm)) == 0
	switch {
	case a && b:
		return "both"
	case a:
		return "tmux"
	case b:
		return "xterm.js"
	}
	return "neither"
}
