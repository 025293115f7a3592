package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/ca"
	"moat/internal/egress"
	"moat/internal/egress/dial"
	"moat/internal/egress/intercept"
	"moat/internal/journal"
	"moat/internal/journal/ledger"
	"moat/internal/policy"
)

// proxy is a run's way out in this process: requests of its client are looked into, recorded and, with an audit record,
// entered.
type proxy struct {
	t       testing.TB
	client  *http.Client
	world   *ca.Authority
	server  *httptest.Server
	dir     *os.Root // the run's folder
	network *journal.Network
	out     *egress.Egress
	inside  *intercept.Interceptor
	trusted *x509.CertPool // in the sandbox

	stop func()
	all  sync.WaitGroup
	held []time.Duration // how long each record of a request waited for its entry; of who writes records
}

func (p *proxy) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// openProxy opens one, which the caller closes.
func openProxy(t testing.TB, audited bool) *proxy {
	t.Helper()
	p := &proxy{t: t}
	p.serve()
	var err error
	p.dir, err = os.OpenRoot(scratch(t))
	p.must(err)
	p.network, _, err = journal.OpenNetwork(p.dir, nil)
	p.must(err)
	p.assemble()
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	if audited {
		p.audit(ctx)
	}
	door, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	p.all.Go(func() { _ = p.out.Serve(ctx, egress.Door{Proxy: door}) }) // it ends with ctx
	p.client = &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: door.Addr().String()}), TLSClientConfig: &tls.Config{RootCAs: p.trusted},
	}}
	return p
}

// serve starts the server that is asked.
func (p *proxy) serve() {
	var err error
	p.world, err = ca.New("world", time.Now())
	p.must(err)
	leaf, err := p.world.Leaf(passed)
	p.must(err)
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(serveLoad))
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf}}
	p.server.StartTLS()
}

// assemble puts the parts together as a supervisor does.
func (p *proxy) assemble() {
	rules, problems := policy.Compile(policy.Config{
		Mode: policy.Strict, Allow: []string{passed}, Rules: []policy.HostRules{{Host: passed, Rules: []string{"allow GET /**"}}},
	})
	if rules == nil {
		p.t.Fatal(problems)
	}
	now := func() *policy.Policy { return rules }
	pins, err := dial.ParsePins(map[string]string{passed + ":443": p.server.Listener.Addr().String()})
	p.must(err)
	dialer, err := dial.New(dial.Config{Policy: now, Pins: pins})
	p.must(err)
	authority, err := ca.New("run", time.Now())
	p.must(err)
	outside := x509.NewCertPool()
	outside.AppendCertsFromPEM(p.world.RootPEM())
	p.trusted = x509.NewCertPool()
	p.trusted.AppendCertsFromPEM(authority.RootPEM())
	meter, logger := egress.NewMeter(now), slog.New(slog.DiscardHandler)
	refused := func(r egress.Refusal) { p.t.Errorf("%s was refused: %s", r.Host, r.Reason) }
	p.inside = intercept.New(intercept.Config{
		Policy: now, Authority: authority, Recorder: p.network, Dialer: dialer, Meter: meter, Refused: refused, Roots: outside, Logger: logger,
	})
	p.out = egress.New(egress.Config{
		Policy: now, Authority: authority, Recorder: p.network, Dialer: dialer, Interceptor: p.inside, Meter: meter, Refused: refused, Logger: logger,
	})
}

// audit enters what is recorded, and makes checkpoints as often as a supervisor ever does.
func (p *proxy) audit(ctx context.Context) {
	machine := ledger.OpenMachine(scratch(p.t))
	signer, _, err := machine.Signer(ctx, nil)
	p.must(err)
	log, _, err := ledger.Open(p.dir, nil)
	p.must(err)
	var records ledger.Records
	records.Begin(log, p.dir)
	p.network.OnWritten(func(w journal.Written) {
		began := time.Now()
		if _, err := records.Network(w); err != nil {
			p.t.Error(err)
		}
		p.held = append(p.held, time.Since(began))
	})
	const id = "run-0123456789ab"
	round := func() error {
		signed, err := log.Sign(audit.OriginOf(signer.Key, id), signer)
		if err == nil {
			err = log.Sync()
		}
		if err == nil && signed != nil {
			_, err = machine.EnterRun(signer, id, signed)
		}
		return err
	}
	p.all.Go(func() {
		tick := time.NewTicker(400 * time.Millisecond) // signAtMost of the supervisor
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if err := round(); err != nil {
				p.t.Error(err)
				return
			}
		}
	})
}

func (p *proxy) close() {
	p.client.CloseIdleConnections()
	p.stop()
	p.all.Wait()
	p.must(errors.Join(p.out.Close(), p.inside.Close(), p.network.Close(), p.dir.Close()))
	p.server.Close()
}
