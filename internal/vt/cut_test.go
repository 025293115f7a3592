package vt

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkCuts cuts data at every step bytes.
func checkCuts(t *testing.T, r recording, step int) {
	t.Helper()
	for cut := 0; cut <= len(r.data) && !t.Failed(); cut += step {
		checkCut(t, r, cut)
	}
}

// checkCut checks that a terminal which got a snapshot after cut bytes is in
// the same state as the one it was taken of, then and after the rest.
func checkCut(t *testing.T, r recording, cut int) {
	t.Helper()
	data := r.data
	a := New(r.cols, r.rows, Options{})
	a.Write(data[:cut])
	b := restored(a)
	if d := cmp.Diff(dump(a), dump(b)); d != "" {
		t.Errorf("snapshot after %q (%d of %d) differs (-want +got):\n%s", tail(data[:cut]), cut, len(data), d)
		return
	}
	a.Write(data[cut:])
	b.Write(data[cut:])
	if d := cmp.Diff(dump(a), dump(b)); d != "" {
		t.Errorf("cut after %q, then %q (-want +got):\n%s", tail(data[:cut]), data[cut:min(cut+60, len(data))], d)
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-60):] }

// TestCutCases cuts every small case at every byte.
func TestCutCases(t *testing.T) {
	for _, c := range readCases(t) {
		t.Run(c.name, func(t *testing.T) { checkCuts(t, recording{c.name, c.cols, c.rows, c.data}, 1) })
	}
}

// TestCutMixed cuts random mixtures of the small cases.
func TestCutMixed(t *testing.T) {
	cases := readCases(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var data []byte
		for range 2 + rnd.IntN(6) {
			data = append(data, cases[rnd.IntN(len(cases))].data...)
		}
		size := cases[rnd.IntN(len(cases))]
		checkCuts(t, recording{"", size.cols, max(size.rows, 2), data}, 1+rnd.IntN(len(data)))
		if t.Failed() {
			t.Fatalf("size %dx%d, data %q", size.cols, size.rows, data)
		}
	}
}
