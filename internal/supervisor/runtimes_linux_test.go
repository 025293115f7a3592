package supervisor

import (
	"slices"
	"testing"
)

func TestOrder(t *testing.T) {
	if got := Runtimes(); !slices.Equal(got, []string{"native", "docker"}) {
		t.Errorf("%q", got)
	}
}
