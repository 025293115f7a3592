package intercept

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/ca"
	"moat/internal/egress"
	"moat/internal/journal"
	"moat/internal/policy"
)

const (
	token       = "real-Zk3xQ9vLw7RtY2uBn5Hc"
	placeholder = "moat-placeholder-4f1d2c3b5a69"
)

// lab is an interceptor between a sandbox and an outside, both of which are the test.
type lab struct {
	t           testing.TB
	interceptor *Interceptor
	authority   *ca.Authority
	world       *ca.Authority // signs the servers outside
	records     *records
	refusals    chan egress.Refusal
	policy      *policy.Policy
	refuse      *egress.RefusedError           // what Dial says, if it is set
	connState   func(net.Conn, http.ConnState) // of servers that are made after it is set

	mu      sync.Mutex
	servers map[string]string // host:port → address
	dials   []string
}

// labOptions is what differs between labs.
type labOptions struct {
	policy  policy.Config
	grants  []egress.Grant
	capture egress.Capture
	limits  Meter
}

func newLab(t testing.TB, o labOptions) *lab {
	t.Helper()
	l := &lab{t: t, records: &records{arrived: make(chan struct{}, 1)}, refusals: make(chan egress.Refusal, 1000), servers: make(map[string]string)}
	l.authority, l.world = newAuthority(t), newAuthority(t)
	for _, g := range o.grants {
		o.policy.Grants = append(o.policy.Grants, policy.GrantHosts{Name: g.Name, Hosts: g.Hosts})
	}
	var problems []policy.Problem
	if l.policy, problems = policy.Compile(o.policy); l.policy == nil {
		t.Fatal(problems)
	}
	if o.limits == nil {
		o.limits = egress.NewMeter(func() *policy.Policy { return l.policy })
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.world.RootPEM())
	l.interceptor = New(Config{
		Policy: func() *policy.Policy { return l.policy }, Authority: l.authority, Grants: o.grants, Recorder: l.records, Dialer: l,
		Meter: o.limits, Capture: o.capture, Roots: roots, Refused: func(r egress.Refusal) { l.refusals <- r },
	})
	t.Cleanup(func() { l.interceptor.Close() })
	return l
}

func newAuthority(t testing.TB) *ca.Authority {
	t.Helper()
	a, err := ca.New("lab", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// labGrant is a Bearer token for cred.lab.test.
func labGrant() egress.Grant {
	return egress.Grant{
		Name: "lab", Hosts: []string{"cred.lab.test"}, Placeholders: []string{placeholder},
		Secrets: func() []string { return []string{token} },
		Inject: func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token)
			return nil
		},
		Swap: func(context.Context, string) (string, error) { return token, nil },
	}
}

// Dial is how the outside is reached.
func (l *lab) Dial(ctx context.Context, host policy.Host, port uint16) (egress.Conn, error) {
	name := host.WithPort(port)
	l.mu.Lock()
	address, ok := l.servers[name]
	l.dials = append(l.dials, name)
	l.mu.Unlock()
	if l.refuse != nil {
		return egress.Conn{}, l.refuse
	}
	if !ok {
		return egress.Conn{}, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return egress.Conn{}, err
	}
	return egress.Conn{Conn: conn, Addr: conn.RemoteAddr().(*net.TCPAddr).AddrPort()}, nil
}

// Pinned says that nothing is.
func (l *lab) Pinned(policy.Host, uint16) bool { return false }

func (l *lab) dialled() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.dials...)
}

// outside serves name:port with a handler, over TLS in HTTP/1 and 2 if the port ends in 443.
func (l *lab) outside(name string, h http.Handler) *httptest.Server {
	l.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.Config.DisableGeneralOptionsHandler = true
	s.Config.ConnState = l.connState
	if host, ok := strings.CutSuffix(name, "443"); ok {
		host = strings.TrimRight(host, "0123456789")
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*l.certificate(strings.TrimSuffix(host, ":"))}}
		s.StartTLS()
	} else {
		s.Start()
	}
	l.t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	l.at(name, s.Listener.Addr().String())
	return s
}

func (l *lab) certificate(host string) *tls.Certificate {
	l.t.Helper()
	c, err := l.world.Leaf(host)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lab) at(name, address string) {
	l.mu.Lock()
	l.servers[name] = address
	l.mu.Unlock()
}

// target is what the door makes of a connection to name:port.
func (l *lab) target(name string, secure bool) egress.Target {
	l.t.Helper()
	host, port := splitName(l.t, name)
	return egress.Target{
		Host: host, Port: port, TLS: secure, Asked: netip.AddrPortFrom(netip.MustParseAddr("198.18.0.7"), port),
		Decision: l.policy.Decide(policy.Question{Host: host, Port: port}),
	}
}

func splitName(t testing.TB, name string) (policy.Host, uint16) {
	t.Helper()
	text, port, f := splitAuthority(name, false)
	host, err := policy.Name(text)
	if f != nil || err != nil {
		t.Fatalf("%s: %v %v", name, f, err)
	}
	return host, port
}

// door listens as the sandbox's door does, for one target.
func (l *lab) door(target egress.Target) string {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.doorOn(listener, target)
	return listener.Addr().String()
}

func (l *lab) doorOn(listener net.Listener, target egress.Target) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	l.t.Cleanup(func() {
		listener.Close()
		cancel()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				l.interceptor.Intercept(ctx, conn, target)
				conn.Close()
			})
		}
	})
}

// client is a program in the sandbox that asks name:port, in HTTP/2 if it can.
func (l *lab) client(name string, two bool) *http.Client {
	l.t.Helper()
	secure := strings.HasSuffix(name, "443")
	address := l.door(l.target(name, secure))
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig: &tls.Config{RootCAs: l.trust()}, DisableCompression: true, Protocols: new(http.Protocols), MaxIdleConnsPerHost: 64,
	}
	t.Protocols.SetHTTP1(!two)
	t.Protocols.SetHTTP2(two)
	l.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 60 * time.Second}
}

func (l *lab) trust() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.authority.RootPEM())
	return pool
}

// raw is a connection on which a test writes what it likes.
func (l *lab) raw(name string, secure bool) *rawConn {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.door(l.target(name, secure)))
	if err != nil {
		l.t.Fatal(err)
	}
	if secure {
		host, _, _ := net.SplitHostPort(name)
		conn = tls.Client(conn, &tls.Config{RootCAs: l.trust(), ServerName: host, NextProtos: []string{"http/1.1"}})
	}
	l.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	return &rawConn{Conn: conn, t: l.t, r: bufio.NewReader(conn)}
}

type rawConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (c *rawConn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Logf("write: %v", err)
	}
}

// answer reads an answer; its status is 0 if there is none.
func (c *rawConn) answer() (status int, body string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

// records is a Recorder that keeps everything, and marshals it as the journal does.
type records struct {
	mu      sync.Mutex
	last    uint64
	begun   map[uint64]journal.Request
	all     []journal.Request
	forget  bool // in benchmarks
	arrived chan struct{}
}

func (r *records) Begin(q journal.Request) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if r.begun == nil {
		r.begun = make(map[uint64]journal.Request)
	}
	r.begun[r.last] = q
	return r.last
}

func (r *records) End(q journal.Request) {
	r.mu.Lock()
	delete(r.begun, q.ID)
	if !r.forget {
		r.all = append(r.all, q)
	}
	r.mu.Unlock()
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// wait returns the first n records, which may still be on their way.
func (r *records) wait(t testing.TB, n int) []journal.Request {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		r.mu.Lock()
		got := append([]journal.Request(nil), r.all...)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.arrived:
		case <-limit:
			t.Fatalf("%d records, want %d", len(got), n)
		}
	}
}

// text is everything that was recorded.
func (r *records) text(t testing.TB) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(r.all); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Seen-Authorization", r.Header.Get("Authorization"))
	json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "uri": r.RequestURI, "host": r.Host, "proto": r.Proto, "header": r.Header, "body": string(body), "trailer": r.Trailer,
	})
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }
