package vt

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestProbe(t *testing.T) {
	in := os.Getenv("PROBE")
	if in == "" {
		t.Skip("no PROBE")
	}
	s, err := strconv.Unquote(`"` + in + `"`)
	if err != nil {
		t.Fatal(err)
	}
	tm, xt := openOracles(t)
	for _, o := range []oracle{tm, xt} {
		r, err := o.run(10, 5, step{data: []byte(s)})
		if err != nil {
			t.Fatal(err)
		}
		show(o.name(), r)
	}
	v := New(10, 5, Options{})
	v.Write([]byte(s))
	show("ours", observe(v))
}
func show(n string, s seen) {
	fmt.Println("==", n, s.X, s.Y, "pend", s.Pending, "alt", s.Alt, s.Title, fmt.Sprintf("%q", s.Replies), s.Modes, "wrapped", s.Wrapped, "sb", len(s.Scrollback))
	for _, r := range s.Rows {
		fmt.Println("  |" + r.String() + "|")
	}
}
