package egress_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"moat/internal/journal"
	"moat/internal/policy"
)

// wellKnown are ports at which the denied address listens.
var wellKnown = []int{21, 22, 23, 25, 80, 110, 143, 443, 445, 587, 993, 1433, 3306, 5432, 5900, 6379, 8080, 8443, 9200, 27017}

// patience is for whatever is not what a test is about.
const patience = 30 * time.Second

// fast is a second, and some more for a machine that does other things meanwhile. Who waits for something waits longer.
const fast = 5 * time.Second

// refusedFast fails unless the connection is reset, or answered and closed, at once.
func refusedFast(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	began := time.Now()
	_ = conn.SetDeadline(began.Add(patience))
	_, err := io.Copy(io.Discard, conn)
	if took := time.Since(began); took > fast {
		t.Errorf("%s: refused after %v", what, took)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestProbesOfAddresses are N02, N03, N05, N06, N11: whatever address is dialled, past all names and variables.
func TestProbesOfAddresses(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test")})
	newTrap(t, wellKnown...)
	for _, port := range wellKnown {
		for _, host := range []string{"203.0.113.66", "2001:db8::66"} {
			addr := net.JoinHostPort(host, fmt.Sprint(port))
			// A reset can be faster than connect(2) returns.
			if conn, err := l.tryDial("tcp", addr); err == nil {
				refusedFast(t, conn, addr)
			} else if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", addr, err)
			}
			rec := l.records.wait(t, addr, func(r journal.Request) bool { return r.Address == addr })
			if rec.Decision != journal.Denied || rec.Host != host || rec.Rule != "strict: not in network.allow" {
				t.Errorf("%s: %+v", addr, rec)
			}
		}
	}
	l.setPolicy(t, policy.Config{Mode: policy.Permissive})
	for addr, rule := range map[string]string{
		"169.254.169.254:80": "metadata", "10.0.0.1:443": "private", "192.168.1.1:22": "private", "100.100.100.200:80": "metadata",
		"198.18.200.200:443": "made-up", "[fd6d:6f61:7400::5:5]:443": "made-up", "[fd00:ec2::254]:80": "metadata",
		"127.0.0.1:15001": "loop", "[::ffff:10.0.0.1]:443": "private", "[64:ff9b::7f00:1]:443": "NAT64", "0.0.0.0:15001": "loop",
	} {
		conn, err := l.tryDial("tcp", addr)
		if err != nil {
			continue // the kernel refuses some by itself
		}
		refusedFast(t, conn, addr)
		if rule == "" {
			continue
		}
		l.records.wait(t, addr+" by "+rule, func(r journal.Request) bool {
			return r.Decision == journal.Denied && strings.Contains(r.Rule, rule)
		})
		l.records.forget()
	}
	out, err := l.run(t, "curl", "-sS", "-k", "--noproxy", "*", "--max-time", "20", "-i", "https://203.0.113.10/")
	if err == nil || strings.Contains(out, "X-Moat-Blocked") {
		t.Errorf("permissive refuses an ordinary address: %v: %s", err, out) // nothing listens there
	}
}

// TestProbesOfDNS are D01, D03, D05, D09, D10: questions over UDP and TCP to any resolver, with real clients.
func TestProbesOfDNS(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test", "*.wild.lab.test")})
	for _, server := range []string{"8.8.8.8", "198.51.100.53", "2001:4860:4860::8888"} {
		for _, how := range []string{"+notcp", "+tcp"} {
			for _, kind := range []string{"A", "AAAA", "TXT", "MX", "ANY", "SVCB", "HTTPS", "NULL", "TYPE65280", "CNAME", "NS", "SOA", "SRV", "CAA"} {
				if how == "+tcp" && kind == "ANY" {
					continue // dig asks ANY over TCP by itself
				}
				out, err := l.run(t, "dig", "@"+server, how, "+tries=1", "+time=2", "-t", kind, "c2VjcmV0.deny.lab.test")
				want := "status: REFUSED"
				if kind == "A" || kind == "AAAA" {
					want = "ANSWER: 1"
				}
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("dig @%s %s %s: %v: %s", server, how, kind, err, out)
				}
			}
		}
	}
	if asked := l.outside(); len(asked) > 0 {
		t.Errorf("asked outside: %v", asked)
	}
	if out, err := l.run(t, "dig", "+short", "-t", "MX", "x.wild.lab.test"); err != nil || out != "10 mail.x.wild.lab.test.\n" {
		t.Errorf("dig: %v: %s", err, out)
	}
	out, err := l.run(t, "dig", "+short", "-t", "A", "plain.lab.test")
	if err != nil || !strings.HasPrefix(out, "198.18.") {
		t.Fatalf("dig: %v: %s", err, out)
	}
	if out, err := l.run(t, "dig", "+short", "-x", strings.TrimSpace(out)); err != nil || out != "plain.lab.test.\n" {
		t.Errorf("dig -x: %v: %s", err, out)
	}
	l.records.wait(t, "a refused question", func(r journal.Request) bool {
		return r.Kind == journal.KindDNS && r.Method == "TXT" && r.Host == "c2vjcmv0.deny.lab.test" && r.Decision == journal.Denied && *r.Status == int(dnsmessage.RCodeRefused)
	})
}

// TestProbesOfTLS are P27, P29, P53 and their like, at hosts that are passed through.
func TestProbesOfTLS(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test", "203.0.113.10")})
	addr := l.lookup(t, "plain.lab.test")
	trust := l.trust(t)
	for _, c := range []struct {
		what, dial, sni string
		rule            string // "" is allowed
	}{
		{"the name", addr, "plain.lab.test", ""},
		{"in another case", addr, "PLAIN.lab.test", ""},
		{"another name", addr, "shared.lab.test", "conflict: SNI"},
		{"a look-alike", addr, "plain.lab.test.deny.lab.test", "conflict: SNI"},
		{"no name", addr, "", "conflict: no SNI"},
		{"an address as a name", "203.0.113.10:443", "deny.lab.test", "strict: not in network.allow"},
	} {
		raw := l.dial(t, "tcp", c.dial)
		conn := tls.Client(raw, &tls.Config{ServerName: c.sni, RootCAs: trust, InsecureSkipVerify: c.sni == "" || c.rule != ""})
		_ = conn.SetDeadline(time.Now().Add(patience))
		err := conn.Handshake()
		if (err == nil) != (c.rule == "" || !strings.HasPrefix(c.rule, "conflict")) {
			t.Errorf("%s: %v", c.what, err)
		}
		if strings.HasPrefix(c.rule, "conflict") && !strings.Contains(fmt.Sprint(err), "unrecognized name") {
			t.Errorf("%s: %v", c.what, err)
		}
		_ = conn.Close()
		if c.rule != "" {
			l.records.wait(t, c.what, func(r journal.Request) bool { return r.Decision == journal.Denied && r.Rule == c.rule })
		}
		l.records.forget()
	}
	for what, bytes := range map[string]string{
		"SSL 2":            "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
		"an alert":         "\x16\x03\x01\x00\x04\x02\x00\x00\x00",
		"an empty record":  "\x16\x03\x01\x00\x00",
		"an endless hello": "\x16\x03\x01\x00\x04\x01\xff\xff\xff",
	} {
		conn := l.dial(t, "tcp", addr)
		_, _ = io.WriteString(conn, bytes)
		refusedFast(t, conn, what)
	}
}

// TestHelloInPieces is P53: a ClientHello in 20 segments and several records gets the same verdict.
func TestHelloInPieces(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("plain.lab.test")})
	for name, allowed := range map[string]bool{"plain.lab.test": true, "shared.lab.test": false} {
		raw := l.dial(t, "tcp", l.lookup(t, "plain.lab.test"))
		conn := tls.Client(&pieces{Conn: raw, left: 20}, &tls.Config{ServerName: name, RootCAs: l.trust(t)})
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := conn.Handshake(); (err == nil) != allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pieces sends its first bytes one by one, each in a segment and a record of its own.
type pieces struct {
	net.Conn
	left int
}

func (p *pieces) Write(b []byte) (int, error) {
	done := 0
	for p.left > 0 && len(b)-done > 5 && done == 0 || p.left > 0 && done > 0 && len(b)-done > 1 {
		if done == 0 {
			done = 5 // the record's header, which is written anew
		}
		if _, err := p.Conn.Write([]byte{22, 3, 1, 0, 1, b[done]}); err != nil {
			return done, err
		}
		done++
		p.left--
	}
	if done > 0 {
		rest := len(b) - done
		if _, err := p.Conn.Write(append([]byte{22, 3, 1, byte(rest >> 8), byte(rest)}, b[done:]...)); err != nil {
			return done, err
		}
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// TestProxy are P01, P03, P13, P15, P39, N08, N09 and what works, with a real client.
func TestProxy(t *testing.T) {
	in := &answerer{}
	l := newLab(t, labConfig{policy: strict("plain.lab.test", "web.lab.test"), interceptor: in})
	newTrap(t, 80, 443)
	for _, c := range []struct {
		proxy, url, want string
	}{
		{"http://127.0.0.1:3128", "https://plain.lab.test/", "hello from plain.lab.test"},
		{"socks5h://127.0.0.1:3128", "https://plain.lab.test/", "hello from plain.lab.test"},
		{"socks5://127.0.0.1:3128", "https://plain.lab.test/", "hello from plain.lab.test"},
		{"socks5h://user:pw@127.0.0.1:3128", "https://plain.lab.test/", "hello from plain.lab.test"},
		{"http://127.0.0.1:3128", "http://web.lab.test/x", "intercepted  port 0 proxy true for web.lab.test"},
		{"socks5h://127.0.0.1:3128", "http://web.lab.test/x", "intercepted web.lab.test port 80 proxy false for web.lab.test"},
		{"http://127.0.0.1:3128", "https://deny.lab.test/", "response 407"},
		{"socks5h://127.0.0.1:3128", "https://deny.lab.test/", "(2)"},
		{"socks4a://127.0.0.1:3128", "https://plain.lab.test/", "(91)"},
		{"socks4://127.0.0.1:3128", "https://plain.lab.test/", "(91)"},
		{"http://127.0.0.1:3128", "https://203.0.113.66/", "response 407"},
		{"http://127.0.0.1:3128", "https://0xcb.0.0x7142/", "response 407"},
		{"http://127.0.0.1:3128", "https://3405803842/", "response 407"},
		{"http://127.0.0.1:3128", "https://127.1/", "response 407"},
		{"http://127.0.0.1:3128", "https://0/", "response 407"},
		{"http://127.0.0.1:3128", "https://[::]/", "response 407"},
		{"http://127.0.0.1:3128", "https://[::ffff:127.0.0.1]/", "response 407"},
		{"http://127.0.0.1:3128", "https://localhost/", "response 407"},
		{"http://127.0.0.1:3128", "https://127.0.0.1:3128/", "response 407"},
		{"http://127.0.0.1:3128", "https://plain.lab.test.deny.lab.test/", "response 407"},
		{"http://127.0.0.1:3128", "https://xplain.lab.test/", "response 407"},
		{"http://127.0.0.1:3128", "https://plain.lab.test:8443/", "response 407"},
	} {
		out, _ := l.run(t, "curl", "-sS", "--cacert", l.caFile, "--max-time", "20", "-x", c.proxy, c.url)
		if !strings.Contains(out, c.want) {
			t.Errorf("curl -x %s %s: %s", c.proxy, c.url, out)
		}
	}
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: 127.0.0.1:3128\r\n\r\n", "GET /admin HTTP/1.1\r\nHost: moat\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n",
		"GET https://plain.lab.test/ HTTP/1.1\r\n\r\n", "CONNECT plain.lab.test HTTP/1.1\r\n\r\n", "CONNECT plain.lab.test:443 HTTP/1.1\r\nHost: deny.lab.test\r\n\r\n",
		"CONNECT deny.lab.test:443 HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n", "CONNECT plain.lab.test:443 HTTP/1.1\nHost: plain.lab.test\n\r\n\r\n",
		"CONNECT x@plain.lab.test:443 HTTP/1.1\r\n\r\n", "GET ftp://plain.lab.test/ HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"CONNECT plain.lab.test:443 HTTP/1.1\r\nX: " + strings.Repeat("a", 70<<10),
	} {
		conn := l.dial(t, "tcp", "127.0.0.1:3128")
		_, _ = io.WriteString(conn, request)
		_ = conn.SetDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.60q: %v, %v", request, resp, err)
		}
	}
	for _, hello := range []string{"\x16\x03\x01\x00\x05hello", "\x00\x01", "\xff\xfe"} {
		conn := l.dial(t, "tcp", "127.0.0.1:3128")
		_, _ = io.WriteString(conn, hello)
		refusedFast(t, conn, fmt.Sprintf("%q", hello))
	}
	l.records.wait(t, "the refused tunnel", func(r journal.Request) bool {
		return r.Kind == journal.KindConnect && r.Host == "deny.lab.test" && r.Decision == journal.Denied && r.Status != nil && *r.Status == 407
	})
	for _, name := range l.outside() {
		if !strings.HasPrefix(name, "plain.lab.test") {
			t.Errorf("asked outside: %s", name)
		}
	}
}
