package policy

import (
	"fmt"
	"strings"
	"testing"
)

// thousand is a policy of 1,000 patterns of all kinds.
func thousand(t testing.TB) *Policy {
	c := Config{Mode: Strict, Grants: []GrantHosts{{Name: "cred", Hosts: []string{"cred.example"}}}}
	for i := range 250 {
		c.Allow = append(c.Allow, fmt.Sprintf("h%d.example.com", i), fmt.Sprintf("*.w%d.a.b.c.example.com", i),
			fmt.Sprintf("203.%d.0.0/16", i), fmt.Sprintf("p%d.example.com:8443", i))
	}
	c.Rules = []HostRules{{"h7.example.com", []string{"deny * /admin/**", "allow GET /repos/*/contents/**"}}}
	return compile(t, c)
}

func questions(t testing.TB) map[string]Question {
	host := func(s string) Host { return mustHost(t, s) }
	return map[string]Question{
		"exact":     {Host: host("h7.example.com"), Port: 443},
		"grant":     {Host: host("cred.example"), Port: 443},
		"wildcard":  {Host: host("deep.down.x.w77.a.b.c.example.com"), Port: 443},
		"address":   {Host: host("203.77.1.2"), Port: 443},
		"request":   {Host: host("h7.example.com"), Port: 443, Method: "GET", Path: "/repos/moat/contents/a/b/c.go"},
		"refused":   {Host: host("evil.example.com"), Port: 443},
		"100 parts": {Host: host(strings.Repeat("a.", 100) + "w77.a.b.c.example.com"), Port: 443},
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p := thousand(t)
	for name, q := range questions(t) {
		if p.Decide(q).Allow == (name == "refused") {
			t.Errorf("%s: %+v", name, p.Decide(q))
		}
		if n := testing.AllocsPerRun(100, func() { p.Decide(q) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Name("deep.down.w77.example.com") }); n > 0 {
		t.Errorf("Name: %v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	p := thousand(b)
	for name, q := range questions(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(q)
			}
		})
	}
}

func BenchmarkName(b *testing.B) {
	for _, s := range []string{"api.github.com", "API.GitHub.com.", "bücher.example", "203.0.113.7", "[2001:db8::7]"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Name(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	c := thousand(b).Config()
	for b.Loop() {
		Compile(c)
	}
}
