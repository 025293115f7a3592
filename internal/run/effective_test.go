package run

import (
	"testing"

	"moat/internal/sandbox"
)

func TestEffective(t *testing.T) {
	answers := []sandbox.State{sandbox.Unknown, sandbox.Running, sandbox.Gone}
	for _, s := range States() {
		for _, locked := range []bool{true, false} {
			for _, sb := range answers {
				want := Life{State: s}
				if s.Live() && !locked {
					want = map[sandbox.State]Life{
						sandbox.Unknown: {State: s, Unverified: true},
						sandbox.Running: {State: s, Adoptable: true},
						sandbox.Gone:    {State: Lost},
					}[sb]
				}
				if got := Effective(Record{State: s}, locked, sb); got != want {
					t.Errorf("Effective(%s, locked %t, sandbox %d) = %+v, want %+v", s, locked, sb, got, want)
				}
			}
		}
	}
}
