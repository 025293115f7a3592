package egress_test

import (
	"strings"
	"testing"

	"moat/internal/journal"
	"moat/internal/policy"
)

func strict(allow ...string) policy.Config {
	return policy.Config{Mode: policy.Strict, Allow: allow}
}

func TestPassThrough(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test")})
	out, err := l.run(t, "curl", "-sS", "--cacert", l.caFile, "https://plain.lab.test/")
	if err != nil || !strings.Contains(out, "hello from plain.lab.test over HTTP/2.0") {
		t.Fatalf("curl: %v: %s", err, out)
	}
	rec := l.records.wait(t, "the tunnel", func(r journal.Request) bool { return r.Kind == journal.KindConnect })
	if rec.Host != "plain.lab.test" || rec.SNI != "plain.lab.test" || rec.Decision != journal.Allowed ||
		rec.Rule != "allow plain.lab.test" || rec.Address != l.web.Listener.Addr().String() || rec.BytesIn == 0 || rec.BytesOut == 0 {
		t.Errorf("%+v", rec)
	}
	l.records.wait(t, "the question", func(r journal.Request) bool { return r.Kind == journal.KindDNS && r.Host == "plain.lab.test" })
}

func TestRefusedIsTold(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test")})
	for _, url := range []string{"https://deny.lab.test/a", "http://deny.lab.test/b"} {
		out, err := l.run(t, "curl", "-sSi", "--cacert", l.caFile, "--max-time", "20", url)
		if err != nil || !strings.Contains(out, "X-Moat-Blocked: network-policy\r\n") || !strings.Contains(out, "Content-Type: text/plain\r\n") ||
			!strings.Contains(out, "blocked by network policy") || !strings.Contains(out, `"deny.lab.test"`) || !strings.Contains(out, "network.allow") {
			t.Errorf("curl: %v: %s", err, out)
		}
		rec := l.records.wait(t, url, func(r journal.Request) bool { return r.URL == url })
		if rec.Decision != journal.Denied || rec.Method != "GET" || rec.Status == nil || rec.Rule != "strict: not in network.allow" {
			t.Errorf("%+v", rec)
		}
	}
	if asked := l.outside(); len(asked) > 0 {
		t.Errorf("asked outside: %v", asked)
	}
	if told := l.told(); len(told) != 2 || told[0].Line != "deny.lab.test" {
		t.Errorf("told: %+v", told)
	}
}
