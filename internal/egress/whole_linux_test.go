package egress_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"moat/internal/egress"
	"moat/internal/egress/intercept"
	"moat/internal/journal"
	"moat/internal/policy"
)

// late is an Interceptor that is made after the laboratory which uses it.
type late struct {
	made atomic.Pointer[intercept.Interceptor]
}

func (l *late) Intercept(ctx context.Context, conn net.Conn, t egress.Target) {
	l.made.Load().Intercept(ctx, conn, t)
}

// TestWhole is the way out with its real interceptor: a credential is put in, by way of the door and both proxies.
func TestWhole(t *testing.T) {
	in := &late{}
	l := newLab(t, labConfig{interceptor: in, policy: policy.Config{Mode: policy.Strict, Allow: []string{"plain.lab.test", "web.lab.test"},
		Grants: []policy.GrantHosts{{Name: "lab", Hosts: []string{"cred.lab.test"}}}}})
	raw, err := os.ReadFile(l.caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	in.made.Store(intercept.New(intercept.Config{
		Policy: l.current, Authority: l.config.Authority, Recorder: l.records, Dialer: l.config.Dialer, Meter: egress.NewMeter(l.current),
		Refused: l.config.Refused, Roots: roots, Logger: slog.New(slog.DiscardHandler),
		Grants: []egress.Grant{{Name: "lab", Hosts: []string{"cred.lab.test"}, Secrets: func() []string { return []string{"the-real-token-value"} },
			Inject: func(_ context.Context, r *http.Request) error {
				r.Header.Set("Authorization", "Bearer the-real-token-value")
				return nil
			}}},
	}))
	for _, args := range [][]string{
		{"https://cred.lab.test/auth"}, {"--http1.1", "https://cred.lab.test/auth"}, {"-x", "http://127.0.0.1:3128", "https://cred.lab.test/auth"},
		{"-x", "socks5h://127.0.0.1:3128", "https://cred.lab.test/auth"},
	} {
		out, err := l.run(t, "curl", append([]string{"-sS", "--cacert", l.caFile}, args...)...)
		if err != nil || !strings.Contains(out, "authorized true") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
		rec := l.records.wait(t, "the request", func(r journal.Request) bool {
			return r.Kind == journal.KindHTTP && r.Host == "cred.lab.test" && r.Status != nil
		})
		if rec.Grant == nil || *rec.Grant != "lab" || *rec.Status != 200 {
			t.Errorf("%+v", rec)
		}
		l.records.forget()
	}
	for _, args := range [][]string{{"http://deny.lab.test/x"}, {"-x", "http://127.0.0.1:3128", "http://deny.lab.test/x"}} {
		out, err := l.run(t, "curl", append([]string{"-sSi", "--max-time", "20"}, args...)...)
		if err != nil || !strings.Contains(out, "407") || !strings.Contains(out, "X-Moat-Blocked: network-policy") || !strings.Contains(out, "network.allow") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}
