package walls

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFromStatus(t *testing.T) {
	for status, want := range map[string][]string{
		"": nil,
		"Name:\tmoat\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n": {
			"no_new_privs", "seccomp filter", "no capabilities",
		},
		"CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t0\n": {"capabilities 00000000a80425fb of 00000000a80425fb"},
		"CapEff:\t0000000000000000\nCapBnd:\t0000000000000400\n":                              {"capabilities 0000000000000000 of 0000000000000400"},
		"CapEff:\t0000000000000000\nSeccomp:\t1\n":                                            nil,
	} {
		if diff := cmp.Diff(want, fromStatus(status)); diff != "" {
			t.Errorf("%q: (-want +got):\n%s", status, diff)
		}
	}
}

// TestOurselves: our own namespaces are no walls.
func TestOurselves(t *testing.T) {
	if names := namespaces("/proc/self"); len(names) > 0 {
		t.Errorf("%q", names)
	}
	if found := Of(-1); found != nil {
		t.Errorf("of nobody: %q", found)
	}
	if _, err := os.Stat("/proc/self/status"); err == nil && len(Of(os.Getpid())) == 0 {
		t.Error("nothing is said of ourselves, not even our capabilities")
	}
}
