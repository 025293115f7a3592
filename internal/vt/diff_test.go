package vt

import (
	"fmt"
	"os"
	"testing"
)

func TestListDiffs(t *testing.T) {
	if os.Getenv("LIST") == "" {
		t.Skip()
	}
	var all map[string]golden
	readGolden(t, casesGolden, &all)
	for _, c := range readCases(t) {
		g := all[c.name]
		d := between(g.Tmux, g.Xterm)
		if len(d) == 0 {
			continue
		}
		term := New(c.cols, c.rows, Options{})
		term.Write(c.data)
		o := observe(term)
		w := "NEITHER"
		if len(between(o, g.Xterm)) == 0 {
			w = "xterm.js"
		} else if len(between(o, g.Tmux)) == 0 {
			w = "tmux"
		}
		fmt.Printf("%s | %s | %d %s\n", c.name, w, len(d), d[0])
	}
}
