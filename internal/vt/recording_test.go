package vt

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recording is what a real program wrote (testdata/record/record.py).
type recording struct {
	name       string
	cols, rows int
	data       []byte
}

func readRecordings(t testing.TB) []recording {
	t.Helper()
	paths, err := filepath.Glob("testdata/recordings/*.gz")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var out []recording
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r := recording{}
		if r.data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
		f.Close()
		name, size, _ := strings.Cut(filepath.Base(path), ".")
		if _, err := fmt.Sscanf(size, "%dx%d.gz", &r.cols, &r.rows); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r.name = name
		out = append(out, r)
	}
	return out
}

// groundOffsets are the offsets where no sequence is cut.
func (r recording) groundOffsets() []int {
	var out []int
	t := New(r.cols, r.rows, Options{})
	for i := range r.data {
		if t.Write(r.data[i : i+1]); t.Ground() {
			out = append(out, i+1)
		}
	}
	return out
}

// boundaries are the offsets every 4 KB, moved to where no sequence is cut,
// and the end.
func (r recording) boundaries() []int {
	const every = 4096
	var out []int
	for _, i := range r.groundOffsets() {
		if i >= (len(out)+1)*every {
			out = append(out, i)
		}
	}
	return append(out, len(r.data))
}

const recordingsGolden = "testdata/recordings.golden.gz"

// TestOracleRecordings asks the oracles about the recordings.
func TestOracleRecordings(t *testing.T) {
	tmux, xterm := openOracles(t)
	all := map[string][]golden{}
	for _, r := range readRecordings(t) {
		for _, end := range r.boundaries() {
			all[r.name] = append(all[r.name], ask(t, tmux, xterm, r, step{data: r.data[:end]}))
		}
	}
	checkGolden(t, recordingsGolden, all)
}

// TestRecordings compares the screen with the oracles' every 4 KB.
func TestRecordings(t *testing.T) {
	var all map[string][]golden
	readGolden(t, recordingsGolden, &all)
	for _, r := range readRecordings(t) {
		t.Run(r.name, func(t *testing.T) {
			term := New(r.cols, r.rows, Options{})
			at := 0
			for i, end := range r.boundaries() {
				if i >= len(all[r.name]) {
					t.Fatal("not in the golden file: run with -update")
				}
				term.Write(r.data[at:end])
				at = end
				g := all[r.name][i]
				for _, d := range disagreement(observe(term), g.Tmux, g.Xterm) {
					t.Errorf("after %d bytes: %s", end, d)
				}
			}
		})
	}
}

// TestCutRecordings cuts every recording at random bytes, in our own model.
func TestCutRecordings(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, r := range readRecordings(t) {
		t.Run(r.name, func(t *testing.T) {
			for range 40 {
				checkCut(t, r, rnd.IntN(len(r.data)+1))
			}
		})
	}
}

// TestOracleCutRecordings: at least 99.5 % of random cuts of the recordings.
func TestOracleCutRecordings(t *testing.T) {
	tmux, xterm := openOracles(t)
	for _, o := range []oracle{tmux, xterm} {
		var score cutScore
		rnd := rand.New(rand.NewPCG(7, 8))
		for _, r := range readRecordings(t) {
			ground := r.groundOffsets()
			for range 5 {
				end := ground[rnd.IntN(len(ground))]
				whole, err := o.run(r.cols, r.rows, step{data: r.data[:end]})
				if err != nil {
					t.Fatalf("%s: %s: %v", o.name(), r.name, err)
				}
				for _, cut := range []int{end, rnd.IntN(end + 1), max(0, end-rnd.IntN(300))} {
					score.tryCut(t, o, whole, recording{r.name, r.cols, r.rows, r.data[:end]}, cut)
				}
			}
		}
		t.Logf("%s: %d of %d cuts, %.2f %%", o.name(), score.same, score.all, score.percent())
		if score.percent() < 99.5 {
			t.Errorf("%s: %.2f %% of the cuts end in the same state", o.name(), score.percent())
		}
	}
}
