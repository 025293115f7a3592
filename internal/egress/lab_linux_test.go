package egress_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"moat/internal/ca"
	"moat/internal/egress"
	"moat/internal/egress/dial"
	"moat/internal/journal"
	"moat/internal/policy"
)

// inside is a network namespace from which everything is redirected to a door, as in a sandbox.
type inside struct {
	do     chan func()
	door   egress.Door
	resolv string
}

// newInside makes the namespace on a thread of its own, which ends with the test and takes the namespace with it.
func newInside(t testing.TB) *inside {
	t.Helper()
	needLab(t)
	in := &inside{do: make(chan func()), resolv: filepath.Join(t.TempDir(), "resolv.conf")}
	if err := os.WriteFile(in.resolv, []byte("nameserver 198.51.100.53\noptions timeout:2 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ready <- in.enter()
		for f := range in.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(in.do) })
	return in
}

const rules = `
table inet moat {
	chain out {
		type nat hook output priority -100;
		ip daddr 127.0.0.0/8 accept
		ip6 daddr ::1 accept
		meta l4proto tcp redirect to :15001
		udp dport 53 redirect to :15053
	}
	chain shut {
		type filter hook output priority 0;
		ct state established accept
		meta l4proto tcp accept
		udp dport 53 accept
		ip daddr 127.0.0.0/8 accept
		ip6 daddr ::1 accept
		udp dport 15053 accept
		reject
	}
}`

func (in *inside) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(in.resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for _, line := range []string{
		"ip link set lo up", "ip addr add 10.83.0.2/32 dev lo", "ip route add default dev lo",
		"ip -6 addr add fd6d:6f61:7401::2/128 dev lo", "ip -6 route add default dev lo",
	} {
		args := strings.Fields(line)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	var err error
	in.door, err = openDoor()
	return err
}

// openDoor makes the sockets, in the namespace of the calling thread.
func openDoor() (door egress.Door, err error) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", host+":15001")
		if err != nil {
			return door, err
		}
		pc, err := net.ListenPacket("udp", host+":15053")
		if err != nil {
			return door, err
		}
		door.TCP, door.DNS = append(door.TCP, l), append(door.DNS, pc)
	}
	door.Proxy, err = net.Listen("tcp", "127.0.0.1:3128")
	return door, err
}

// run runs a program inside and returns what it printed and its error. It is ended after ten seconds.
func (in *inside) run(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := make(chan error)
	in.do <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	return out.String(), err
}

// dial connects from inside, past all name services.
func (in *inside) dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	conn, err := in.tryDial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// records keeps everything that is recorded.
type records struct {
	mu   sync.Mutex
	next uint64
	all  []journal.Request
	open map[uint64]bool
	news chan struct{}
}

func newRecords() *records {
	return &records{open: make(map[uint64]bool), news: make(chan struct{}, 1)}
}

func (r *records) Begin(journal.Request) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.open[r.next] = true
	select {
	case r.news <- struct{}{}:
	default:
	}
	return r.next
}

func (r *records) End(rec journal.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, rec.ID)
	r.all = append(r.all, rec)
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// wait returns the first record that matches.
func (r *records) wait(t testing.TB, what string, match func(journal.Request) bool) journal.Request {
	t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		for _, rec := range r.all {
			if match(rec) {
				r.mu.Unlock()
				return rec
			}
		}
		seen := fmt.Sprintf("%+v", r.all)
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-limit:
			t.Fatalf("no record of %s in %s", what, seen)
		}
	}
}

// forget drops what was recorded.
func (r *records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

// lab is an egress between an inside and servers.
type lab struct {
	*inside
	records *records
	egress  *egress.Egress
	caFile  string // what the inside trusts: the servers' authority and the run's own
	web     *httptest.Server
	mu      sync.Mutex
	policy  *policy.Policy
	asked   []string // names that were asked outside
	refused []egress.Refusal
	config  egress.Config
}

// labConfig is what differs between laboratories.
type labConfig struct {
	policy      policy.Config
	pins        map[string]string
	names       map[string][]string // what the DNS outside says
	interceptor egress.Interceptor
	grants      []egress.Grant
	connections int
}

func newLab(t testing.TB, c labConfig) *lab {
	t.Helper()
	l := &lab{inside: newInside(t), records: newRecords()}
	l.setPolicy(t, c.policy)
	authority, err := ca.New("lab", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.serveWeb(t, authority)
	pins := map[string]string{
		"plain.lab.test:443": l.web.Listener.Addr().String(), "cred.lab.test:443": l.web.Listener.Addr().String(),
	}
	for k, v := range c.pins {
		pins[k] = v
	}
	parsed, err := dial.ParsePins(pins)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := dial.New(dial.Config{Policy: l.current, Pins: parsed, Resolver: labResolver{l, c.names}})
	if err != nil {
		t.Fatal(err)
	}
	l.config = egress.Config{
		Grants: c.grants,
		Policy: l.current, Authority: authority, Recorder: l.records, Dialer: dialer, Interceptor: c.interceptor,
		Upstream: labResolver{l, c.names}, Connections: c.connections,
		Refused: func(r egress.Refusal) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.refused = append(l.refused, r)
		},
	}
	l.egress = egress.New(l.config)
	served := make(chan error, 1)
	go func() { served <- l.egress.Serve(context.WithoutCancel(t.Context()), l.door) }()
	t.Cleanup(func() {
		if err := l.egress.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, egress.ErrClosed) {
			t.Errorf("Serve = %v", err)
		}
		if len(l.records.open) > 0 {
			t.Errorf("records that were begun and not ended: %v", l.records.open)
		}
	})
	return l
}

// serveWeb starts a server for https with a certificate for every name below lab.test.
func (l *lab) serveWeb(t testing.TB, authority *ca.Authority) {
	t.Helper()
	l.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = io.CopyN(w, zeros{}, 64<<20)
			return
		}
		if r.URL.Path == "/auth" {
			fmt.Fprintf(w, "authorized %v\n", r.Header.Get("Authorization") == "Bearer the-real-token-value")
			return
		}
		fmt.Fprintf(w, "hello from %s over %s\n", r.Host, r.Proto)
	}))
	l.web.EnableHTTP2 = true
	outer, err := ca.New("the outside", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.web.TLS = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return outer.Leaf(strings.ToLower(h.ServerName))
	}}
	l.web.StartTLS()
	t.Cleanup(l.web.Close)
	l.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(l.caFile, append(outer.RootPEM(), authority.RootPEM()...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trust is the pool of what the inside trusts.
func (l *lab) trust(t testing.TB) *x509.CertPool {
	t.Helper()
	raw, err := os.ReadFile(l.caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(cert)
	}
	return pool
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func (l *lab) current() *policy.Policy {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.policy
}

func (l *lab) setPolicy(t testing.TB, c policy.Config) {
	t.Helper()
	p, problems := policy.Compile(c)
	if p == nil {
		t.Fatal(problems)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.policy = p
}

// labResolver is the DNS outside: it remembers what it was asked.
type labResolver struct {
	lab   *lab
	names map[string][]string
}

func (r labResolver) note(name string) {
	r.lab.mu.Lock()
	defer r.lab.mu.Unlock()
	r.lab.asked = append(r.lab.asked, name)
}

func (r labResolver) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	r.note(name)
	var addrs []netip.Addr
	for _, text := range r.names[strings.TrimSuffix(name, ".")] {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return addrs, nil
}

func (r labResolver) Ask(_ context.Context, name string, q dnsmessage.Type) ([]dnsmessage.Resource, dnsmessage.RCode, error) {
	r.note(name)
	owner := dnsmessage.MustNewName(name + ".")
	h := dnsmessage.ResourceHeader{Name: owner, Type: q, Class: dnsmessage.ClassINET, TTL: 600}
	if q == dnsmessage.TypeMX {
		return []dnsmessage.Resource{{Header: h, Body: &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName("mail." + name + ".")}}}, 0, nil
	}
	return nil, dnsmessage.RCodeNameError, nil
}

// tryDial connects from inside.
func (in *inside) tryDial(network, addr string) (conn net.Conn, err error) {
	done := make(chan struct{})
	in.do <- func() {
		defer close(done)
		conn, err = net.DialTimeout(network, addr, patience)
	}
	<-done
	return conn, err
}

// lookup returns the address with port 443 that the inside's DNS gives to a name.
func (l *lab) lookup(t testing.TB, name string) string {
	t.Helper()
	out, err := l.run(t, "dig", "+short", name)
	if err != nil {
		t.Fatalf("dig: %v: %s", err, out)
	}
	return net.JoinHostPort(strings.TrimSpace(out), "443")
}

// waitOpen returns when a connection has begun that is not over.
func (r *records) waitOpen(t testing.TB) {
	t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		open := len(r.open)
		r.mu.Unlock()
		if open > 0 {
			return
		}
		select {
		case <-r.news:
		case <-limit:
			t.Fatal("no connection has begun")
		}
	}
}

// outside returns the names that were asked outside.
func (l *lab) outside() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// told returns the refusals that were told.
func (l *lab) told() []egress.Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.refused)
}
