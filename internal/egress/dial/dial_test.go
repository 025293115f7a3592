package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"moat/internal/egress"
	"moat/internal/policy"
)

// book is a Resolver with fixed answers, which counts questions.
type book struct {
	names map[string][]string
	asked atomic.Int64
}

func (b *book) LookupNetIP(_ context.Context, _, name string) (addrs []netip.Addr, err error) {
	b.asked.Add(1)
	for _, text := range b.names[name] {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	if addrs == nil {
		err = &net.DNSError{Err: "no such host", Name: name, Server: "192.0.2.53:53", IsNotFound: true}
	}
	return addrs, err
}

func host(t testing.TB, name string) policy.Host {
	t.Helper()
	h, err := policy.Name(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve accepts on a loopback address and says who it is.
func serve(t testing.TB, addr, greeting string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, greeting)
			conn.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// world is what a Dialer of a test knows.
type world struct {
	policy policy.Config
	pins   map[string]string
	names  map[string][]string
	proxy  string
}

func newDialer(t testing.TB, w world) (*Dialer, *book) {
	t.Helper()
	p, problems := policy.Compile(w.policy)
	if p == nil {
		t.Fatal(problems)
	}
	pins, err := ParsePins(w.pins)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{names: w.names}
	c := Config{Policy: func() *policy.Policy { return p }, Pins: pins, Resolver: b}
	if w.proxy != "" {
		if c.Proxy, err = url.Parse(w.proxy); err != nil {
			t.Fatal(err)
		}
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d, b
}

func TestPins(t *testing.T) {
	a, b := serve(t, "127.0.0.1:0", "a"), serve(t, "127.0.0.1:0", "b")
	d, asked := newDialer(t, world{pins: map[string]string{
		"api.example:443": fmt.Sprintf("127.0.0.1:%d", a), "Api.Example.": fmt.Sprintf("127.0.0.1:%d", b), "own.example": "127.0.0.1",
	}})
	for _, c := range []struct {
		name string
		port uint16
		want string
	}{{"api.example", 443, "a"}, {"api.example", 80, "b"}, {"own.example", a, "a"}, {"own.example", b, "b"}} {
		conn, err := d.Dial(t.Context(), host(t, c.name), c.port)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn)
		conn.Close()
		if string(got) != c.want || conn.Addr.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s:%d led to %q at %s", c.name, c.port, got, conn.Addr)
		}
	}
	if !d.Pinned(host(t, "api.example"), 0) || !d.Pinned(host(t, "api.example"), 1) || d.Pinned(host(t, "x.example"), 0) {
		t.Error("Pinned")
	}
	if n := asked.asked.Load(); n > 0 {
		t.Errorf("%d questions for pinned names", n)
	}
	for from, to := range map[string]string{"a.example:0": "127.0.0.1:1", "a.example:70000": "127.0.0.1:1", "a b": "127.0.0.1:1", "": "127.0.0.1:1",
		"203.0.113.1": "127.0.0.1:1", "a.example": "b.example:1", "b.example": "127.0.0.1:0", "c.example": "[fe80::1%lo]:1", "*.example": "127.0.0.1:1"} {
		if _, err := ParsePins(map[string]string{from: to}); err == nil {
			t.Errorf("%q: %q was taken", from, to)
		}
	}
	if _, err := ParsePins(map[string]string{"a.example": "127.0.0.1:1", "A.example": "127.0.0.1:2"}); err == nil {
		t.Error("one name was taken twice")
	}
}

func TestEveryAddressIsJudged(t *testing.T) {
	d, asked := newDialer(t, world{policy: policy.Config{Deny: []string{"203.0.113.0/24"}}, names: map[string][]string{
		"loop.example.": {"127.0.0.1"}, "six.example.": {"::1"}, "mapped.example.": {"::ffff:127.0.0.1"}, "meta.example.": {"169.254.169.254", "fd00:ec2::254"},
		"denied.example.": {"203.0.113.7"}, "nat.example.": {"64:ff9b::a9fe:a9fe"}, "many.example.": {"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "198.18.0.1"},
	}})
	for name, rule := range map[string]string{"loop": "loopback", "six": "loopback", "mapped": "loopback", "meta": "", "denied": "deny 203.0.113.0/24", "nat": "NAT64", "many": "private"} {
		_, err := d.Dial(t.Context(), host(t, name+".example"), 443)
		var refused *egress.RefusedError
		if !errors.As(err, &refused) || refused.Decision.Allow || !strings.Contains(refused.Decision.Rule, rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := asked.asked.Load()
	for _, name := range []string{"localhost", "a.localhost", "printer.local", "x.onion", "x.invalid", "router.home.arpa", "other.moat.internal"} {
		if _, err := d.Dial(t.Context(), host(t, name), 443); err == nil {
			t.Errorf("%s was dialled", name)
		}
	}
	if n := asked.asked.Load(); n != before {
		t.Errorf("%d questions for names that DNS does not have", n-before)
	}
	if _, err := d.Dial(t.Context(), host(t, "none.example"), 443); !errors.Is(err, ErrNoAddress) || strings.Contains(err.Error(), "192.0.2.53") {
		t.Errorf("none: %v", err)
	}
	if _, err := d.Dial(t.Context(), policy.AddrHost(netip.MustParseAddr("127.0.0.1")), 443); err == nil {
		t.Error("an address of this machine was dialled")
	}
}

func TestOwnMachine(t *testing.T) {
	port := serve(t, "127.0.0.1:0", "mine")
	d, _ := newDialer(t, world{policy: policy.Config{HostPorts: []int{int(port)}}})
	conn, err := d.Dial(t.Context(), host(t, policy.HostName), port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, _ := io.ReadAll(conn); string(got) != "mine" {
		t.Errorf("%q", got)
	}
	if _, err := d.Dial(t.Context(), host(t, policy.HostName), port+1); !errors.As(err, new(*egress.RefusedError)) {
		t.Errorf("another port: %v", err)
	}
}

// TestFirst races addresses: a dead one, one that refuses, and one that works.
func TestFirst(t *testing.T) {
	port := serve(t, "127.0.0.2:0", "second")
	d, _ := newDialer(t, world{})
	for _, first := range []string{"127.0.0.1", "192.0.2.1", "2001:db8::1"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		began := time.Now()
		conn, err := d.first(ctx, []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(first), port), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)})
		cancel()
		if err != nil {
			t.Errorf("after %s: %v", first, err)
			continue
		}
		if conn.Addr.Addr() != netip.MustParseAddr("127.0.0.2") || time.Since(began) > attemptLimit/2 {
			t.Errorf("after %s: %s in %v", first, conn.Addr, time.Since(began))
		}
		conn.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.first(ctx, []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), 1)}); err == nil {
		t.Error("a cancelled dial gave a connection")
	}
}

// company is a proxy that a company might have.
func company(t testing.TB, answer func(*http.Request) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, answer(req))
			}
			conn.Close()
		}
	}()
	return "http://user:secret@" + l.Addr().String()
}

func TestUpstreamProxy(t *testing.T) {
	proxy := company(t, func(r *http.Request) string {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		if r.Method != "CONNECT" || user != "user" || password != "secret" || r.Host != r.RequestURI {
			return "HTTP/1.1 400 Bad Request\r\n\r\n"
		}
		switch r.Host {
		case "slow.example:443":
			return "HTTP/1.1 " + strings.Repeat("x", maxReply+10)
		case "no.example:443":
			return "HTTP/1.1 403 Forbidden\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nX: y\r\n\r\nearly " + r.Host
	})
	mine := serve(t, "127.0.0.1:0", "pinned")
	d, _ := newDialer(t, world{proxy: proxy, pins: map[string]string{"pin.example": fmt.Sprintf("127.0.0.1:%d", mine)},
		names: map[string][]string{"lan.example.": {"10.0.0.1"}, "ok.example.": {"203.0.113.1"}}})
	for name, want := range map[string]string{"ok.example": "early ok.example:443", "unknown.example": "early unknown.example:443", "pin.example": "pinned"} {
		conn, err := d.Dial(t.Context(), host(t, name), 443)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		conn.Close()
	}
	if _, err := d.Dial(t.Context(), host(t, "lan.example"), 443); !errors.As(err, new(*egress.RefusedError)) {
		t.Errorf("a private address: %v", err)
	}
	for _, name := range []string{"no.example", "slow.example"} {
		if _, err := d.Dial(t.Context(), host(t, name), 443); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"https://p.example:1", "http://p.example", "socks5://p.example:1", "http://:1"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Proxy: u}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestServers(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response, m.Additionals = true, nil
			forged := m
			forged.ID++ // somebody who guesses
			for _, answer := range []dnsmessage.Message{forged, m} {
				if m.Questions[0].Type == dnsmessage.TypeMX && answer.ID == m.ID {
					answer.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
						Body: &dnsmessage.MXResource{MX: dnsmessage.MustNewName("mx.example.")}}}
				}
				packed, err := answer.Pack()
				if err != nil {
					continue
				}
				_, _ = pc.WriteTo(packed, from)
			}
		}
	}()
	s, err := NewServers([]string{pc.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	answers, code, err := s.Ask(t.Context(), "a.example", dnsmessage.TypeMX)
	if err != nil || code != 0 || len(answers) != 1 {
		t.Errorf("%v, %v, %v", answers, code, err)
	}
	for _, bad := range [][]string{nil, {"dns.example"}, {"1.1.1.1:0"}, {"1.1.1.1:99999"}, {""}} {
		if _, err := NewServers(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, _, err := SystemServers("/nonexistent").Ask(t.Context(), "a.example", dnsmessage.TypeMX); err == nil {
		t.Error("nobody answered")
	}
}
