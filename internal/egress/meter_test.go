package egress

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"moat/internal/policy"
)

// What was counted is known to whoever comes after.
func TestMeterIsKept(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, problems := policy.Compile(policy.Config{Limits: policy.Limits{Bytes: 1000, Requests: 5}})
	if p == nil {
		t.Fatal(problems)
	}
	host := func(n int) policy.Host {
		h, err := policy.Name([]string{"a.example", "203.0.113.7", "2001:db8::7"}[n])
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for round := range 5 {
		m := NewMeter(func() *policy.Policy { return p })
		if err := m.Keep(f); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if d := m.Request(host(n)); !d.Allow {
				t.Errorf("round %d: %v", round, d)
			}
			if got, want := m.left(host(n)), int64(1000-round*(n+1)*10); got != want {
				t.Errorf("round %d: %d bytes are left, want %d", round, got, want)
			}
			m.Bytes(host(n), int64(n+1)*10)
		}
	}
	m := NewMeter(func() *policy.Policy { return p })
	if err := m.Keep(f); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if d := m.Request(host(n)); d.Allow {
			t.Errorf("a sixth request: %v", d)
		}
	}
	other, err := policy.Name("other.example")
	if err != nil {
		t.Fatal(err)
	}
	if d := m.Bytes(other, 1000); d.Allow {
		t.Error(fmt.Sprint("too many bytes: ", d))
	}
}
