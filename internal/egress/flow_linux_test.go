package egress_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"moat/internal/egress"
	"moat/internal/journal"
	"moat/internal/policy"
)

func TestServerSpeaksFirst(t *testing.T) {
	in := &answerer{}
	mail := listen(t, "203.0.113.10:25", banner)
	quiet := listen(t, "203.0.113.10:7777", echo)
	l := newLab(t, labConfig{policy: strict("mail.lab.test:25", "quiet.lab.test:7777"), interceptor: in,
		pins: map[string]string{"mail.lab.test:25": mail, "quiet.lab.test:7777": quiet}})
	dial := func(name string, port string) net.Conn {
		t.Helper()
		host, _, _ := net.SplitHostPort(l.lookup(t, name))
		conn := l.dial(t, "tcp", net.JoinHostPort(host, port))
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	}

	conn := dial("mail.lab.test", "25")
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || line != "220 hello\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	// Once the server has spoken nothing is TLS or HTTP any more.
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
	if line, err := r.ReadString('\n'); err != nil || line != "GET / HTTP/1.1\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = conn.Close()

	// A client that waits for the server to be dialled gains nothing: HTTP goes where HTTP goes, a wrong name nowhere.
	conn = dial("quiet.lab.test", "7777")
	l.records.waitOpen(t)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), "intercepted quiet.lab.test port 7777") {
		t.Errorf("%q, %v", got, err)
	}
	conn = dial("quiet.lab.test", "7777")
	l.records.waitOpen(t)
	if err := tls.Client(conn, &tls.Config{ServerName: "shared.lab.test"}).Handshake(); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("handshake: %v", err)
	}
	l.records.wait(t, "the conflict", func(r journal.Request) bool { return r.Rule == "conflict: SNI" && r.SNI == "shared.lab.test" })

	conn = dial("quiet.lab.test", "7777")
	l.records.waitOpen(t)
	_, _ = io.WriteString(conn, "anything\n")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "anything\n" {
		t.Errorf("%q, %v", got, err)
	}
	l.records.wait(t, "the bytes", func(r journal.Request) bool { return r.Host == "quiet.lab.test" && r.BytesIn == 9 && r.BytesOut == 9 })
}

func TestHalfClose(t *testing.T) {
	server := listen(t, "203.0.113.10:9000", func(conn *net.TCPConn) {
		n, _ := io.Copy(io.Discard, conn) // answers when it has everything
		fmt.Fprintf(conn, "%d bytes", n)
	})
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000")})
	for _, size := range []int{1, 100, 64 << 10, 10 << 20} {
		conn := l.dial(t, "tcp", server).(*net.TCPConn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.CopyN(conn, zeros{}, int64(size)); err != nil {
			t.Fatal(err)
		}
		_ = conn.CloseWrite()
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != fmt.Sprintf("%d bytes", size) {
			t.Errorf("%d: %q, %v", size, got, err)
		}
		l.records.wait(t, "the count", func(r journal.Request) bool {
			return r.BytesOut == int64(size) && r.BytesIn == int64(len(got)) && r.Error == nil
		})
	}
}

// TestTools are netcat and openssl, which end their side early or late.
func TestTools(t *testing.T) {
	listen(t, "203.0.113.10:9000", echo)
	listen(t, "203.0.113.10:25", banner)
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000", "203.0.113.10:25", "plain.lab.test")})
	for _, c := range []struct{ what, script, want string }{
		{"a word without an end", "printf hello | nc -N 203.0.113.10 9000", "hello"},
		{"half a request", "printf 'GET x' | nc -N 203.0.113.10 9000", "GET x"},
		{"only listening", "nc -N 203.0.113.10 25 < /dev/null", "220 hello\r\n"},
		{"the right name", "openssl s_client -brief -CAfile " + l.caFile + " -verify_return_error -connect plain.lab.test:443 -servername plain.lab.test < /dev/null 2>&1 | grep -o 'Verification: OK'", "Verification: OK\n"},
		{"another name", "openssl s_client -brief -connect plain.lab.test:443 -servername shared.lab.test < /dev/null 2>&1 | grep -ic 'unrecognized name'", "1\n"},
		{"no name", "openssl s_client -brief -connect plain.lab.test:443 -noservername < /dev/null 2>&1 | grep -ic 'unrecognized name'", "1\n"},
		{"a shell", "(exec 3<>/dev/tcp/203.0.113.66/443 && cat <&3) 2>&1 | grep -c 'reset by peer'", "1\n"},
	} {
		out, _ := l.run(t, "bash", "-c", c.script)
		if out != c.want {
			t.Errorf("%s: %q", c.what, out)
		}
	}
}

func TestResetIsPassedOn(t *testing.T) {
	reset := make(chan error, 1)
	server := listen(t, "203.0.113.10:9000", func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, conn)
		reset <- err
	})
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000")})
	conn := l.dial(t, "tcp", server).(*net.TCPConn)
	_, _ = io.WriteString(conn, "\x00hello")
	l.records.waitOpen(t)
	_ = conn.SetLinger(0)
	_ = conn.Close()
	if err := <-reset; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server saw %v", err)
	}
	l.records.wait(t, "the end", func(r journal.Request) bool { return r.Kind == journal.KindTCP && r.Error != nil })

	// The other way round, and a server that is not there.
	refuse := listen(t, "203.0.113.10:9001", func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.SetLinger(0)
	})
	l.setPolicy(t, strict("203.0.113.10:9001", "203.0.113.10:9002"))
	for _, addr := range []string{refuse, "203.0.113.10:9002"} {
		conn := l.dial(t, "tcp", addr)
		_, _ = io.WriteString(conn, "\x00\x00")
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestRoutes(t *testing.T) {
	in := &answerer{}
	server := listen(t, "203.0.113.10:8080", echo)
	l := newLab(t, labConfig{interceptor: in, pins: map[string]string{"odd.lab.test:8080": server}, policy: policy.Config{Mode: policy.Strict,
		Allow: []string{"web.lab.test", "odd.lab.test:8080", "203.0.113.10:8080"}, Rules: []policy.HostRules{{Host: "ro.lab.test", Rules: []string{"allow GET /pub/**"}}},
		Grants: []policy.GrantHosts{{Name: "lab", Hosts: []string{"cred.lab.test"}}}}})
	for _, c := range []struct {
		what, name, port, send string
		want                   egress.Target // zero: nothing may be intercepted
		reply                  string
	}{
		{"http", "web.lab.test", "80", "GET / HTTP/1.1\r\nHost: web.lab.test\r\n\r\n", egress.Target{Port: 80}, "intercepted web.lab.test port 80"},
		{"http on another port", "odd.lab.test", "8080", "GET / HTTP/1.1\r\nHost: shared\r\n\r\n", egress.Target{Port: 8080}, "intercepted odd.lab.test port 8080"},
		{"http after empty lines", "odd.lab.test", "8080", "\r\n\r\nGET / HTTP/1.1\r\nHost: shared\r\n\r\n", egress.Target{Port: 8080}, "400 Bad Request"},
		{"http in small letters", "odd.lab.test", "8080", "get / http/1.1\r\nHost: shared\r\n\r\n", egress.Target{Port: 8080}, ""},
		{"no http on port 80", "web.lab.test", "80", "\x00\x01\x02\x03\r\n\r\n", egress.Target{Port: 80}, "400 Bad Request"},
		{"something else", "odd.lab.test", "8080", "hello\n", egress.Target{}, "hello\n"},
		{"no http where a grant is used", "cred.lab.test", "443", "SSH-2.0-x\r\n", egress.Target{}, ""},
	} {
		in.targets = nil
		host, _, _ := net.SplitHostPort(l.lookup(t, c.name))
		conn := l.dial(t, "tcp", net.JoinHostPort(host, c.port)).(*net.TCPConn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, c.send)
		_ = conn.CloseWrite()
		got, _ := io.ReadAll(conn)
		if !strings.Contains(string(got), c.reply) {
			t.Errorf("%s: %q", c.what, got)
		}
		if c.want.Port == 0 {
			if len(in.targets) > 0 {
				t.Errorf("%s: intercepted as %+v", c.what, in.targets)
			}
			continue
		}
		if got := in.last(t); got.Host.Name() != c.name || got.Port != c.want.Port || got.TLS || got.Proxy || !got.Decision.Allow || !got.Asked.IsValid() {
			t.Errorf("%s: %+v", c.what, got)
		}
	}
	conn := l.dial(t, "tcp", l.lookup(t, "cred.lab.test"))
	_ = tls.Client(conn, &tls.Config{ServerName: "cred.lab.test"}).Handshake()
	if got := in.last(t); !got.TLS || got.Host.Name() != "cred.lab.test" || !got.Decision.Inspect || !got.Pinned {
		t.Errorf("%+v", got)
	}
	in.targets = nil
	conn = l.dial(t, "tcp", server) // an address that is allowed, and the name of a granted host
	if err := tls.Client(conn, &tls.Config{ServerName: "cred.lab.test"}).Handshake(); err == nil || len(in.targets) > 0 {
		t.Errorf("a granted name at an address: %v, %+v", err, in.targets)
	}
}

// TestJudgedAddressIsDialled is D12: a name that changes its address, towards this machine and private networks.
func TestJudgedAddressIsDialled(t *testing.T) {
	newTrap(t, 443, 8443)
	l := newLab(t, labConfig{policy: strict("*.wild.lab.test", "*.wild.lab.test:8443"), names: map[string][]string{
		"loop.wild.lab.test": {"127.0.0.1"}, "mapped.wild.lab.test": {"::1"}, "meta.wild.lab.test": {"169.254.169.254"}, "lan.wild.lab.test": {"10.0.0.1", "192.168.0.1"},
	}})
	for _, name := range []string{"loop", "mapped", "meta", "lan"} {
		name += ".wild.lab.test"
		out, err := l.run(t, "curl", "-sSi", "--cacert", l.caFile, "--max-time", "20", "https://"+name+"/")
		if err != nil || !strings.Contains(out, "403") || !strings.Contains(out, "addresses are refused under every policy") {
			t.Errorf("curl: %v: %s", err, out)
		}
		rec := l.records.wait(t, name, func(r journal.Request) bool { return r.Kind == journal.KindHTTP && r.Host == name })
		if rec.Decision != journal.Denied || !strings.HasPrefix(rec.Rule, "special address: ") || rec.ID == 0 {
			t.Errorf("%+v", rec)
		}
		host, _, _ := net.SplitHostPort(l.lookup(t, name))
		conn := l.dial(t, "tcp", net.JoinHostPort(host, "8443"))
		_, _ = io.WriteString(conn, "\x00\x01")
		refusedFast(t, conn, name)
	}
}

func TestLimits(t *testing.T) {
	server := listen(t, "203.0.113.10:9000", echo)
	l := newLab(t, labConfig{policy: policy.Config{Mode: policy.Strict, Allow: []string{"203.0.113.10:9000"}, Limits: policy.Limits{Bytes: 3 << 20, Requests: 3}}})
	send := func(size int64) (int64, error) {
		conn := l.dial(t, "tcp", server).(*net.TCPConn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		go func() {
			_, _ = io.CopyN(conn, zeros{}, size)
			_ = conn.CloseWrite()
		}()
		return io.Copy(io.Discard, conn)
	}
	if n, err := send(1 << 20); err != nil || n != 1<<20 {
		t.Errorf("%d, %v", n, err)
	}
	if n, _ := send(32 << 20); n > 1<<20 { // the error of the reset may have been the sender's
		t.Errorf("the limit of bytes let %d pass", n)
	}
	l.records.wait(t, "the limit of bytes", func(r journal.Request) bool { return r.Error != nil && strings.Contains(*r.Error, "limit of bytes") })
	l.setPolicy(t, policy.Config{Mode: policy.Strict, Allow: []string{"203.0.113.10:9000"}, Limits: policy.Limits{Requests: 3}})
	if _, err := send(1); err != nil {
		t.Error(err)
	}
	if _, err := send(1); err == nil {
		t.Error("the fourth connection passed")
	}
	l.records.wait(t, "the limit of requests", func(r journal.Request) bool { return r.Rule == "limits requests: 3" && r.Decision == journal.Denied })
}

// TestServeAgain is what happens when the line to the guest breaks: a new door, the same names, open connections go on.
func TestServeAgain(t *testing.T) {
	server := listen(t, "203.0.113.10:9000", echo)
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000", "plain.lab.test")})
	conn := l.dial(t, "tcp", server)
	roundTrip := func() {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "\x00\x01\x02\x03"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	roundTrip()
	before := l.lookup(t, "plain.lab.test")
	next := newInside(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.egress.Serve(ctx, next.door) }()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	l.inside = newInside(t)
	again := make(chan error, 1)
	go func() { again <- l.egress.Serve(context.WithoutCancel(t.Context()), l.door) }()
	roundTrip()
	if after := l.lookup(t, "plain.lab.test"); after != before {
		t.Errorf("the name's address changed from %s to %s", before, after)
	}
	if out, err := l.run(t, "curl", "-sS", "--cacert", l.caFile, "https://plain.lab.test/"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := l.egress.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-again; !errors.Is(err, egress.ErrClosed) {
		t.Errorf("Serve = %v", err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
	if err := l.egress.Serve(t.Context(), egress.Door{}); !errors.Is(err, egress.ErrClosed) {
		t.Errorf("Serve after Close = %v", err)
	}
}

// panicker is an Interceptor with a fault.
type panicker struct{}

func (panicker) Intercept(context.Context, net.Conn, egress.Target) { panic("a fault") }

func TestPanicIsOneConnection(t *testing.T) {
	l := newLab(t, labConfig{policy: strict("web.lab.test", "plain.lab.test"), interceptor: panicker{}})
	out, err := l.run(t, "curl", "-sS", "--max-time", "20", "http://web.lab.test/")
	if err == nil || !strings.Contains(out, "reset") {
		t.Errorf("curl: %v: %s", err, out)
	}
	if out, err := l.run(t, "curl", "-sS", "--cacert", l.caFile, "https://plain.lab.test/"); err != nil {
		t.Errorf("curl: %v: %s", err, out)
	}
}
