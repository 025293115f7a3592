package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func compile(t testing.TB, c Config) *Policy {
	t.Helper()
	p, problems := Compile(c)
	if p == nil {
		t.Fatalf("Compile: %+v", problems)
	}
	return p
}

// ask asks about a connection to host:port, or a request "METHOD host:port/path".
func ask(t testing.TB, p *Policy, text string) Decision {
	t.Helper()
	method, rest, isRequest := strings.Cut(text, " ")
	if !isRequest {
		method, rest = "", text
	}
	authority, path := rest, ""
	if at := strings.IndexByte(rest, '/'); at >= 0 {
		authority, path = rest[:at], rest[at:]
	}
	name, port, _ := splitPort(authority)
	n, ok := parsePort(port)
	if !ok {
		t.Fatalf("%q has no port", text)
	}
	return p.Decide(Question{Host: mustHost(t, name), Port: n, Method: method, Path: path})
}

func strict() Config {
	return Config{
		Mode:      Strict,
		Allow:     []string{"github.com", "*.wild.lab.test", "plain.lab.test:8443", "203.0.113.7", "203.0.113.64/26:8443", "2001:db8::/64", "ro.lab.test", "127.0.0.1", "10.0.0.0/8"},
		Deny:      []string{"bad.wild.lab.test", "*.very.wild.lab.test", "203.0.113.99", "half.wild.lab.test:80"},
		HostPorts: []int{5432},
		Grants:    []GrantHosts{{Name: "cred", Hosts: []string{"cred.lab.test", "*.cred.lab.test"}, Through: []string{"git.lab.test:22"}}},
		Rules:     []HostRules{{"ro.lab.test", []string{"allow GET,HEAD /pub/**"}}},
	}
}

func TestStrict(t *testing.T) {
	p := compile(t, strict())
	tests := []struct {
		question string
		allow    bool
		rule     string
	}{
		{"github.com:443", true, "allow github.com"},
		{"github.com:80", true, "allow github.com"},
		{"GITHUB.COM.:443", true, "allow github.com"},
		{"github.com:22", false, "strict: not in network.allow"},
		{"api.github.com:443", false, "strict: not in network.allow"},
		{"evilgithub.com:443", false, "strict: not in network.allow"},
		{"github.com.evil:443", false, "strict: not in network.allow"},
		{"github.co:443", false, "strict: not in network.allow"},
		{"ithub.com:443", false, "strict: not in network.allow"},
		{"gıthub.com:443", false, "strict: not in network.allow"},
		{"a.wild.lab.test:443", true, "allow *.wild.lab.test"},
		{"a.b.c.wild.lab.test:80", true, "allow *.wild.lab.test"},
		{"wild.lab.test:443", false, "strict: not in network.allow"},
		{"evilwild.lab.test:443", false, "strict: not in network.allow"},
		{"bad.wild.lab.test:443", false, "deny bad.wild.lab.test"},
		{"bad.wild.lab.test:8080", false, "deny bad.wild.lab.test"},
		{"a.bad.wild.lab.test:443", true, "allow *.wild.lab.test"},
		{"x.very.wild.lab.test:443", false, "deny *.very.wild.lab.test"},
		{"very.wild.lab.test:443", true, "allow *.wild.lab.test"},
		{"half.wild.lab.test:80", false, "deny half.wild.lab.test:80"},
		{"half.wild.lab.test:443", true, "allow *.wild.lab.test"},
		{"plain.lab.test:8443", true, "allow plain.lab.test:8443"},
		{"plain.lab.test:443", false, "strict: not in network.allow"},
		{"203.0.113.7:443", true, "allow 203.0.113.7"},
		{"3405803783:443", true, "allow 203.0.113.7"},
		{"0xcb.0.0x7107:443", true, "allow 203.0.113.7"},
		{"203.0.113.8:443", false, "strict: not in network.allow"},
		{"203.0.113.65:8443", true, "allow 203.0.113.64/26:8443"},
		{"203.0.113.65:443", false, "strict: not in network.allow"},
		{"203.0.113.99:8443", false, "deny 203.0.113.99"},
		{"[2001:db8::66]:443", true, "allow 2001:db8::/64"},
		{"[2001:db8:0:1::66]:443", false, "strict: not in network.allow"},
		{"cred.lab.test:443", true, "grant cred: cred.lab.test"},
		{"cred.lab.test:9443", false, "strict: not in network.allow"},
		{"git.lab.test:22", true, "grant cred: git.lab.test:22"},
		{"git.lab.test:443", false, "strict: not in network.allow"},
		{"x.cred.lab.test:80", true, "grant cred: *.cred.lab.test"},

		{"127.0.0.1:443", false, "special address: loopback"},
		{"127.1:443", false, "special address: loopback"},
		{"2130706433:80", false, "special address: loopback"},
		{"[::ffff:127.0.0.1]:443", false, "special address: v4-mapped"},
		{"[::ffff:203.0.113.7]:443", false, "special address: v4-mapped"},
		{"10.1.2.3:443", false, "special address: private"},
		{"localhost:443", false, "special address: loopback"},
		{"x.LOCALHOST:443", false, "special address: loopback"},
		{"metadata.google.internal:80", false, "special address: metadata"},
		{"0:443", false, "special address: unspecified"},
		{"[::]:443", false, "special address: unspecified"},

		{"host.moat.internal:5432", true, "host host.moat.internal"},
		{"host.moat.internal:443", false, "host: port 443 is not in network.host"},
		{"moat.internal:443", false, "special address: reserved"},
		{"x.host.moat.internal:5432", false, "special address: reserved"},

		{"GET ro.lab.test:443/pub/x", true, "rules ro.lab.test: allow GET,HEAD /pub/**"},
		{"HEAD ro.lab.test:443/pub/", true, "rules ro.lab.test: allow GET,HEAD /pub/**"},
		{"POST ro.lab.test:443/pub/x", false, "rules ro.lab.test: no rule matches"},
		{"get ro.lab.test:443/pub/x", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/private", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/PUB/x", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/pub/../private", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/pub/%2e%2E/private", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/%70ub/x", true, "rules ro.lab.test: allow GET,HEAD /pub/**"},
		{"GET ro.lab.test:443/pub%2Fx", false, "rules ro.lab.test: no rule matches"},
		{"GET ro.lab.test:443/pub/a%2Fb", true, "rules ro.lab.test: allow GET,HEAD /pub/**"},
		{"GET ro.lab.test:443/pub/..%2Fprivate", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443/pub/..;/private", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443/pub/%252e%252e/private", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443/pub/%c0%ae%c0%ae/private", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443//pub/x", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443/pub//x", false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:443/pub/%00", false, "rules ro.lab.test: path"},
		{`GET ro.lab.test:443/pub/..\private`, false, "rules ro.lab.test: path"},
		{"GET ro.lab.test:8080/pub/x", false, "strict: not in network.allow"},
		{"GET ro.lab.test:443", false, "rules ro.lab.test: path"},
	}
	for _, test := range tests {
		d := ask(t, p, test.question)
		if d.Allow != test.allow || d.Rule != test.rule || d.Reason == "" {
			t.Errorf("%s: %+v, want %v by %q", test.question, d, test.allow, test.rule)
		}
		if d.Inspect && !d.Allow {
			t.Errorf("%s is refused and to be looked into", test.question)
		}
	}
}

func TestInspect(t *testing.T) {
	p := compile(t, strict())
	for question, want := range map[string]bool{
		"github.com:443": false, "cred.lab.test:443": true, "git.lab.test:22": false, "x.cred.lab.test:80": true, "ro.lab.test:443": true, "plain.lab.test:8443": false,
	} {
		if d := ask(t, p, question); !d.Allow || d.Inspect != want {
			t.Errorf("%s: %+v, want inspect %v", question, d, want)
		}
	}
}

func TestPermissive(t *testing.T) {
	for _, mode := range []Mode{"", Permissive} {
		p := compile(t, Config{
			Mode: mode, Deny: []string{"evil.example", "203.0.113.0/24"},
			Rules:  []HostRules{{"*.api.example", []string{"deny DELETE,POST /admin/**", "deny * /secret"}}},
			Grants: []GrantHosts{{Name: "cred", Hosts: []string{"cred.lab.test"}}},
		})
		for _, test := range []struct {
			question string
			allow    bool
			rule     string
		}{
			{"any.example:12345", true, "permissive"},
			{"8.8.8.8:53", true, "permissive"},
			{"evil.example:443", false, "deny evil.example"},
			{"evil.example:12345", false, "deny evil.example"},
			{"203.0.113.66:443", false, "deny 203.0.113.0/24"},
			{"192.168.1.1:80", false, "special address: private"},
			{"169.254.169.254:80", false, "special address: metadata"},
			{"host.moat.internal:80", false, "host: port 80 is not in network.host"},
			{"cred.lab.test:443", true, "grant cred: cred.lab.test"},
			{"cred.lab.test:9443", true, "permissive"},
			{"GET a.api.example:8080/admin", true, "permissive"},
			{"POST a.api.example:8080/admin", false, "rules *.api.example: deny DELETE,POST /admin/**"},
			{"post a.api.example:8080/admin/", false, "rules *.api.example: deny DELETE,POST /admin/**"},
			{"DELETE a.api.example:443/admin;x=1/y", false, "rules *.api.example: deny DELETE,POST /admin/**"},
			{"DELETE a.api.example:443/admin%2Fy", false, "rules *.api.example: deny DELETE,POST /admin/**"},
			{"DELETE a.api.example:443/x/..;/admin", false, "rules *.api.example: path"},
			{"X-ODD a.api.example:443/secret", false, "rules *.api.example: deny * /secret"},
			{"GET a.api.example:443/x//y", false, "rules *.api.example: path"},
			{"GET any.example:443/x//..;/y", true, "permissive"},
		} {
			if d := ask(t, p, test.question); d.Allow != test.allow || d.Rule != test.rule {
				t.Errorf("%q: %s: %+v, want %v by %q", mode, test.question, d, test.allow, test.rule)
			}
		}
	}
}

// The most specific pattern's rules count alone, and the first rule that matches.
func TestRulesPrecedence(t *testing.T) {
	p := compile(t, Config{Rules: []HostRules{
		{"*.example", []string{"deny * /**"}},
		{"*.b.example", []string{"allow GET /x", "deny GET /**", "allow * /**"}},
		{"a.b.example", []string{"allow * /any"}},
		{"a.b.example:8443", []string{"allow * /port"}},
		{"203.0.113.0/24", []string{"allow GET /net"}},
		{"203.0.0.0/16", []string{"allow GET /wide"}},
		{"203.0.113.64/26", []string{"allow GET /narrow"}},
	}})
	for question, want := range map[string]bool{
		"GET z.example:443/any": false, "GET b.example:443/x": false,
		"GET z.b.example:443/x": true, "GET z.b.example:443/y": false, "PUT z.b.example:443/y": true,
		"GET a.b.example:443/any": true, "GET a.b.example:443/x": false, "GET a.b.example:443/port": false,
		"GET a.b.example:8443/port": true, "GET a.b.example:8443/any": false,
		"GET 203.0.113.9:80/net": true, "GET 203.0.113.9:80/wide": false,
		"GET 203.0.113.65:80/narrow": true, "GET 203.0.113.65:80/net": false, "GET 203.0.9.9:80/wide": true,
	} {
		if d := ask(t, p, question); d.Allow != want {
			t.Errorf("%s: %+v, want %v", question, d, want)
		}
	}
}

// A name that is allowed is judged once more with the address that it has.
func TestAddressOfName(t *testing.T) {
	p := compile(t, Config{Mode: Strict, Allow: []string{"rebind.lab.test"}, Deny: []string{"203.0.113.0/24:443", "198.51.100.0/24"}})
	host := mustHost(t, "rebind.lab.test")
	for addr, want := range map[string]string{
		"192.0.2.1": "allow rebind.lab.test", "127.0.0.1": "special address: loopback", "::ffff:10.0.0.1": "special address: v4-mapped",
		"fd00:ec2::254": "special address: metadata", "203.0.113.66": "deny 203.0.113.0/24:443", "198.51.100.1": "deny 198.51.100.0/24",
	} {
		q := Question{Host: host, Addr: netip.MustParseAddr(addr), Port: 443}
		if d := p.Decide(q); d.Rule != want {
			t.Errorf("%s: %+v, want %q", addr, d, want)
		}
		q.Pinned = true
		if d := p.Decide(q); !d.Allow {
			t.Errorf("%s, pinned: %+v", addr, d)
		}
	}
	// A pin says how to dial, not that it is allowed.
	if d := p.Decide(Question{Host: mustHost(t, "other.lab.test"), Addr: netip.MustParseAddr("127.0.0.1"), Port: 443, Pinned: true}); d.Allow {
		t.Errorf("a pin allows: %+v", d)
	}
	if d := p.Decide(Question{Host: AddrHost(netip.MustParseAddr("203.0.113.66")), Port: 443, Pinned: true}); d.Rule != "deny 203.0.113.0/24:443" {
		t.Errorf("a pin undoes deny: %+v", d)
	}
}

func TestLookup(t *testing.T) {
	p := compile(t, strict())
	for name, want := range map[string]bool{
		"github.com": true, "plain.lab.test": true, "cred.lab.test": true, "x.wild.lab.test": true, "half.wild.lab.test": true,
		"bad.wild.lab.test": false, "deny.lab.test": false, "wild.lab.test": false, "localhost": false,
		"host.moat.internal": true, "moat.internal": false, "127.0.0.1": false,
	} {
		for _, port := range []uint16{0, 80, 9} { // which is not looked at
			if d := p.Decide(Question{Host: mustHost(t, name), Lookup: true, Port: port}); d.Allow != want {
				t.Errorf("lookup of %s: %+v, want %v", name, d, want)
			}
		}
	}
	none := compile(t, Config{})
	if d := none.Decide(Question{Host: mustHost(t, HostName), Lookup: true}); d.Allow {
		t.Errorf("%+v", d)
	}
	if d := none.Decide(Question{Host: mustHost(t, "any.example")}); d.Allow || d.Rule != "invalid port" {
		t.Errorf("port 0: %+v", d)
	}
	if d := none.Decide(Question{Port: 443, Addr: netip.MustParseAddr("8.8.8.8")}); d.Allow || d.Rule != "invalid host" {
		t.Errorf("no host: %+v", d)
	}
}

func TestCompileReportsAll(t *testing.T) {
	p, problems := Compile(Config{
		Mode: "lax", Allow: []string{"ok.example", "a*.b"}, Deny: []string{"x:0"}, HostPorts: []int{80, 70000, -1},
		Rules:  []HostRules{{"ok.example", []string{"allow GET /", "allow GET a"}}, {"ok.example", []string{"deny * /"}}, {"*", []string{"deny * /"}}, {"n.example", nil}},
		Grants: []GrantHosts{{Name: "g", Hosts: []string{"fine.example", "b..d"}}}, Limits: Limits{Bytes: -1},
	})
	if p != nil {
		t.Error("there is a policy")
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s[%d][%d]@%d %s", p.Field, p.Index, p.Rule, p.At, p.Message))
		if p.Hint == "" && p.Field != "grants" || p.Warning {
			t.Errorf("%+v", p)
		}
	}
	want := []string{
		`policy[0][-1]@0 policy "lax" is unknown`,
		`deny[0][-1]@2 pattern "x:0" has the port "0"`,
		`allow[1][-1]@1 pattern "a*.b" has a * inside`,
		`grants[0][1]@2 pattern "b..d" has an empty label`,
		`rules[0][1]@10 rule "allow GET a" does not begin with "/"`,
		`rules[1][-1]@0 host "ok.example" has rules already`,
		`rules[2][-1]@0 pattern "*" matches everything`,
		`rules[3][-1]@0 host "n.example" has no rules`,
		`host[1][-1]@0 port 70000 is out of range`,
		`host[2][-1]@0 port -1 is out of range`,
		`limits[0][-1]@0 a limit is negative`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCompileWarns(t *testing.T) {
	p, problems := Compile(Config{
		Mode:  Strict,
		Allow: []string{"127.0.0.1:80", "10.1.0.0/16", "0.0.0.0/0", "x.localhost", HostName, "203.0.113.0/24", "ok.example:8443"},
		Rules: []HostRules{{"other.example", []string{"allow * /**"}}, {"ok.example", []string{"allow * /**"}}, {"ok.example:443", []string{"allow * /**"}}, {"203.0.113.9", []string{"allow * /**"}}},
	})
	if p == nil {
		t.Fatalf("%+v", problems)
	}
	var got []string
	for _, p := range problems {
		if !p.Warning {
			t.Errorf("%+v", p)
		}
		got = append(got, fmt.Sprintf("%s[%d]", p.Field, p.Index))
	}
	if diff := cmp.Diff([]string{"allow[0]", "allow[1]", "allow[3]", "allow[4]", "rules[0]", "rules[2]"}, got); diff != "" {
		t.Errorf("%s\n%+v", diff, problems)
	}
}

func TestWithAllow(t *testing.T) {
	c := strict()
	before := compile(t, c)
	after, err := before.WithAllow("new.example:8443")
	if err != nil {
		t.Fatal(err)
	}
	if ask(t, before, "new.example:8443").Allow || !ask(t, after, "new.example:8443").Allow || !ask(t, after, "github.com:443").Allow {
		t.Error("the entry is not added to the new policy alone")
	}
	if again, err := after.WithAllow("bad.wild.lab.test"); err != nil || ask(t, again, "bad.wild.lab.test:443").Allow {
		t.Errorf("deny does not win: %v", err)
	}
	if _, err := before.WithAllow("*"); err == nil || !strings.Contains(err.Error(), "matches everything") {
		t.Errorf("WithAllow(*): %v", err)
	}
	c.Allow[0], c.Rules[0].Rules[0] = "evil.example", "allow * /**"
	before.Config().Grants[0].Hosts[0] = "evil.example"
	if again, err := before.WithAllow("x.example"); err != nil || ask(t, again, "evil.example:443").Allow || ask(t, again, "PUT ro.lab.test:443/").Allow {
		t.Errorf("a policy can be changed from outside: %v", err)
	}
}

// Without the pattern that allows it nothing is allowed.
func TestAllowedOnlyByItsPattern(t *testing.T) {
	c := strict()
	questions := []string{"github.com:443", "a.wild.lab.test:443", "plain.lab.test:8443", "203.0.113.7:443", "203.0.113.65:8443", "[2001:db8::66]:443", "ro.lab.test:443"}
	for i, q := range questions {
		if !ask(t, compile(t, c), q).Allow {
			t.Fatalf("%s is not allowed to begin with", q)
		}
		less := c.clone()
		less.Allow = append(less.Allow[:i:i], less.Allow[i+1:]...)
		if d := ask(t, compile(t, less), q); d.Allow {
			t.Errorf("%s is allowed without %q: %+v", q, c.Allow[i], d)
		}
	}
}

func TestSuggestAllow(t *testing.T) {
	for _, test := range []struct {
		host string
		port uint16
		want string
	}{
		{"api.example.com", 443, "api.example.com"}, {"api.example.com", 80, "api.example.com"}, {"api.example.com", 8443, "api.example.com:8443"},
		{"2001:db8::7", 443, "2001:db8::7"}, {"2001:db8::7", 22, "[2001:db8::7]:22"}, {"203.0.113.7", 22, "203.0.113.7:22"},
		{"127.0.0.1", 443, ""}, {"localhost", 443, ""}, {HostName, 443, ""}, {"x.moat.internal", 443, ""}, {"api.example.com", 0, ""},
	} {
		if got := SuggestAllow(mustHost(t, test.host), test.port); got != test.want {
			t.Errorf("SuggestAllow(%s, %d) = %q, want %q", test.host, test.port, got, test.want)
		}
	}
	if got := SuggestAllow(Host{}, 443); got != "" {
		t.Errorf("SuggestAllow of nothing = %q", got)
	}
}
