package vt

import (
	"math/rand/v2"
	"testing"
)

// cutScore counts in how many of the cuts another terminal ended in the same
// state: it got the output, or the snapshot of a prefix and then the rest.
type cutScore struct{ same, all int }

func (c cutScore) percent() float64 { return 100 * float64(c.same) / float64(max(c.all, 1)) }

// tryCut runs one cut of r in o, against whole, what o shows after all of it.
func (c *cutScore) tryCut(t *testing.T, o oracle, whole seen, r recording, cut int) {
	t.Helper()
	data := r.data
	a := New(r.cols, r.rows, Options{})
	a.Write(data[:cut])
	resumed := append(a.Snapshot(SnapshotOptions{}), a.Pending()...)
	resumed = append(resumed, data[cut:]...)
	got, err := o.run(r.cols, r.rows, step{data: resumed})
	if err != nil {
		t.Fatalf("%s: %s: %v", o.name(), r.name, err)
	}
	a.Write(data[cut:])
	for y := range whole.Wrapped { // xterm.js ends a wrapped line at an explicit line feed, tmux does not
		if a.Wrapped(y) != whole.Wrapped[y] {
			got.Wrapped[y] = whole.Wrapped[y]
		}
	}
	c.all++
	if d := between(got, whole); len(d) == 0 {
		c.same++
	} else {
		t.Logf("%s: %s: cut %d of %q: %d differences: %s", o.name(), r.name, cut, tail(data), len(d), d[0])
	}
}

// TestOracleCutCases: at least 97 % of random cuts of the small cases.
func TestOracleCutCases(t *testing.T) {
	tmux, xterm := openOracles(t)
	for _, o := range []oracle{tmux, xterm} {
		var score cutScore
		rnd := rand.New(rand.NewPCG(3, 4))
		for _, c := range readCases(t) {
			whole, err := o.run(c.cols, c.rows, step{data: c.data})
			if err != nil {
				t.Fatalf("%s: %s: %v", o.name(), c.name, err)
			}
			score.tryCut(t, o, whole, recording{c.name, c.cols, c.rows, c.data}, rnd.IntN(len(c.data)+1))
		}
		t.Logf("%s: %d of %d cuts, %.2f %%", o.name(), score.same, score.all, score.percent())
		if score.percent() < 97 {
			t.Errorf("%s: %.2f %% of the cuts end in the same state", o.name(), score.percent())
		}
	}
}
