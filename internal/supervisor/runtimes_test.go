package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"moat/internal/sandbox"
)

// A sample is a runtime that works or does not.
type sample struct {
	sandbox.Runtime
	err error
}

func (s sample) Check(context.Context) error { return s.err }

// TestAutomatic holds the choice, when nobody chose, to the order of each system.
func TestAutomatic(t *testing.T) {
	linux, darwin := []string{"native", "docker"}, []string{"apple", "docker"}
	for _, test := range []struct {
		order []string
		works []string
		want  string
	}{
		{linux, []string{"native", "docker"}, "native"},
		{linux, []string{"docker"}, "docker"},
		{linux, nil, "native"}, // its error says what is wrong
		{darwin, []string{"apple", "docker"}, "apple"},
		{darwin, []string{"docker"}, "docker"},
		{darwin, nil, "apple"},
		{nil, nil, ""},
	} {
		var tried []string
		var list []kind
		for _, name := range test.order {
			list = append(list, kind{name: name, make: func(Env) sandbox.Runtime {
				tried = append(tried, name)
				if slices.Contains(test.works, name) {
					return sample{}
				}
				return sample{err: errors.New("it does not")}
			}})
		}
		if got := automatic(t.Context(), list, nil); got != test.want {
			t.Errorf("%q, of which %q work: %q, want %q", test.order, test.works, got, test.want)
		}
		if i := slices.Index(test.order, test.want); len(test.works) > 0 && len(tried) != i+1 {
			t.Errorf("%q were tried for %q", tried, test.want)
		}
	}
	likely := []kind{{name: "a", likely: func() bool { return true }}} // it is not tried
	if got := automatic(t.Context(), likely, nil); got != "a" {
		t.Errorf("%q, want the one that certainly works", got)
	}
}

// TestRuntimesOfThisSystem makes each, under its own name and no other.
func TestRuntimesOfThisSystem(t *testing.T) {
	nothing := func(string) (string, bool) { return "", false }
	for _, name := range Runtimes() {
		if r, err := NewRuntime(name, nothing); r == nil || err != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := NewRuntime("none", nothing); r != nil || err == nil {
		t.Errorf("a runtime that there is not: %v", r)
	}
}
