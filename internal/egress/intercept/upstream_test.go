package intercept

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"moat/internal/egress"
	"moat/internal/policy"
)

// selfMade is a certificate that nobody but its maker vouches for.
func selfMade(t *testing.T, name string, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// badServer serves raw connections; with a config, TLS first.
func (l *lab) badServer(name string, config *tls.Config, serve func(net.Conn)) {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if config != nil {
				conn = tls.Server(conn, config)
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	l.at(name, listener.Addr().String())
}

// says answers every request with the same text, and ends the connection.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, text)
	}
}

// Whatever is wrong outside: the sandbox gets an error soon, an answer never looks whole that is not, nothing is kept, and
// the credential is neither sent to somebody else nor told.
func TestBadServers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	trusted := func(l *lab) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*l.certificate("cred.lab.test")}}
	}
	with := func(edit func(l *lab, c *tls.Config)) func(*lab) *tls.Config {
		return func(l *lab) *tls.Config {
			c := trusted(l)
			edit(l, c)
			return c
		}
	}
	read := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	endless := func(head, piece string) func(net.Conn) {
		return func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, head)
			for {
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
			}
		}
	}
	for _, p := range []struct {
		name   string
		config func(*lab) *tls.Config
		serve  func(net.Conn)
		status int // 0: the answer breaks off
	}{
		{"fine", trusted, says(ok + "Content-Length: 2\r\n\r\nok"), 200},
		{"self-signed", with(func(_ *lab, c *tls.Config) {
			c.Certificates[0] = selfMade(t, "cred.lab.test", time.Now().Add(time.Hour))
		}), read, 502},
		{"expired", with(func(_ *lab, c *tls.Config) {
			c.Certificates[0] = selfMade(t, "cred.lab.test", time.Now().Add(-time.Hour))
		}), read, 502},
		{"for another host (C13)", with(func(l *lab, c *tls.Config) { c.Certificates[0] = *l.certificate("other.lab.test") }), read, 502},
		{"by another authority", with(func(_ *lab, c *tls.Config) {
			cert, _ := newAuthority(t).Leaf("cred.lab.test")
			c.Certificates[0] = *cert
		}), read, 502},
		{"by the run's own authority", with(func(l *lab, c *tls.Config) {
			cert, _ := l.authority.Leaf("cred.lab.test")
			c.Certificates[0] = *cert
		}), read, 502},
		{"TLS 1.0", with(func(_ *lab, c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }), read, 502},
		{"TLS 1.1", with(func(_ *lab, c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), read, 502},
		{"wants a certificate (P55)", with(func(_ *lab, c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), read, 502},
		{"no TLS", nil, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 502},
		{"noise instead of TLS", nil, says(strings.Repeat("\x16\x03\x01\xff\xff", 100)), 502},
		{"hangs up", nil, func(net.Conn) {}, 502},
		{"hangs up after TLS", trusted, func(c net.Conn) { c.(*tls.Conn).Handshake() }, 502},
		{"hangs up after the request", trusted, says(""), 502},
		{"no HTTP", trusted, says("SSH-2.0-OpenSSH\r\n"), 502},
		{"HTTP/0.9", trusted, says("<html>"), 502},
		{"half a head", trusted, says(ok + "Content-Le"), 502},
		{"a header with a bad name", trusted, says(ok + "Content-Length: 0\r\nBad Name : x\r\n\r\n"), 200}, // it is left out
		{"a header with NUL", trusted, says(ok + "X: a\x00b\r\n\r\n"), 502},
		{"a header without colon", trusted, says(ok + "X\r\n\r\n"), 502},
		{"a bad status", trusted, says("HTTP/1.1 2000 OK\r\n\r\n"), 502},
		{"two lengths", trusted, says(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), 502},
		{"a negative length", trusted, says(ok + "Content-Length: -2\r\n\r\nabc"), 502},
		{"an unknown coding", trusted, says(ok + "Transfer-Encoding: x\r\n\r\nabc"), 502},
		{"switches protocols unasked", trusted, says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"), 502},
		{"endless header", trusted, endless(ok, "X: "+strings.Repeat("x", 1000)+"\r\n"), 502},
		{"endless line", trusted, endless(ok+"X: ", strings.Repeat("x", 1000)), 502},
		{"endless informational answers", trusted, endless("", "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 1000)+"\r\n\r\n"), 502},
		{"truncated", trusted, says(ok + "Content-Length: 100\r\n\r\nabc"), 0},
		{"truncated chunks", trusted, says(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"), 0},
		{"bad chunks", trusted, says(ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"), 0},
		{"length and chunks", trusted, says(ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 200}, // as chunks (RFC 9112 section 6.3)
		{"chunked twice", trusted, says(ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 502},
		{"a signed length", trusted, says(ok + "Content-Length: +2\r\n\r\nok"), 502},
		{"lengths in one line", trusted, says(ok + "Content-Length: 2, 3\r\n\r\nok"), 502},
		{"an endless length", trusted, says(ok + "Content-Length: 99999999999999999999\r\n\r\nok"), 502},
		{"a chunk without end", trusted, says(ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc"), 0},
		{"endless chunk extension", trusted, endless(ok+"Transfer-Encoding: chunked\r\n\r\n2;", strings.Repeat("x", 1000)), 0},
		{"endless trailer", trusted, endless(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "X: "+strings.Repeat("x", 1000)+"\r\n"), 0},
		{"a body where there is none", trusted, says("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), 204},
		{"slow, then silent", trusted, func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			for _, c := range []byte("HTTP/1.1 2") {
				conn.Write([]byte{c})
			}
		}, 502},
		{"a name with CR LF in it", trusted, says(ok + "Content-Length: 0\r\nX: a\rSet-Cookie: b\r\n\r\n"), 502},
		{"a compressed bomb of another kind", trusted, says(ok + "Content-Encoding: gzip, gzip\r\nContent-Length: 2\r\n\r\nok"), 502},
		{"more than it says", trusted, says(ok + "Content-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n"), 200},
		{"reset", trusted, func(conn net.Conn) {
			says(ok + "Content-Length: 100\r\n\r\nabc")(conn)
			conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
		}, 0},
		{"h2 that is none", with(func(_ *lab, c *tls.Config) { c.NextProtos = []string{"h2"} }), says("no frames at all, but long enough"), 502},
	} {
		inBoth(t, func(t *testing.T, two bool) {
			l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
			var config *tls.Config
			if p.config != nil {
				config = p.config(l)
			}
			l.badServer("cred.lab.test:443", config, p.serve)
			began := time.Now()
			answer, err := l.client("cred.lab.test:443", two).Get("https://cred.lab.test/")
			var body []byte
			if err == nil {
				body, err = io.ReadAll(answer.Body)
				answer.Body.Close()
			}
			switch {
			case p.status == 0:
				if err == nil {
					t.Errorf("%s: what was cut off seems whole: %q", p.name, body)
				}
			case err != nil || answer.StatusCode != p.status:
				t.Errorf("%s: %+v %v", p.name, answer, err)
			case p.status == 502 && !strings.HasPrefix(string(body), "moat: "):
				t.Errorf("%s: %q", p.name, body)
			}
			if took := time.Since(began); took >= handshakeLimit {
				t.Errorf("%s: it took %v", p.name, took)
			}
			rec := l.records.wait(t, 1)[0]
			if (rec.Error == nil) != (p.status/100 == 2) {
				t.Errorf("%s: recorded %+v", p.name, rec)
			}
			if strings.Contains(string(body)+l.records.text(t), token) {
				t.Errorf("%s: the token is told", p.name)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l := newLab(t, labOptions{})
	answer, body := get(t, l.client("plain.lab.test:443", false), "https://plain.lab.test/")
	if answer.StatusCode != 502 || !strings.Contains(body, "no such host") {
		t.Errorf("%d %q", answer.StatusCode, body)
	}
}

// An address that policy refuses is told as a refusal (D12).
func TestRefusedAddress(t *testing.T) {
	l := newLab(t, labOptions{})
	l.refuse = &egress.RefusedError{Addr: netip.MustParseAddr("10.0.0.1"), Decision: policy.Decision{Rule: "special address: private", Reason: "private"}}
	answer, body := get(t, l.client("plain.lab.test:443", false), "https://plain.lab.test/")
	rec := l.records.wait(t, 1)[0]
	if answer.StatusCode != 403 || !strings.Contains(body, "blocked by network policy") || rec.Decision != "deny" || rec.Rule != "special address: private" {
		t.Errorf("%d %q %+v", answer.StatusCode, body, rec)
	}
}

// The handshake says the name of the connection, or there is none (P27, P29, P53).
func TestServerName(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	address := l.door(l.target("cred.lab.test:443", true))
	for n, config := range []*tls.Config{
		{ServerName: "shared.lab.test"}, {ServerName: "127.0.0.1"}, {ServerName: strings.Repeat("a.", 150) + "test"}, {},
		{ServerName: "cred.lab.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		config.InsecureSkipVerify = true
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := tls.Client(conn, config).Handshake(); err == nil {
			t.Errorf("%q: the handshake is done", config.ServerName)
		}
		conn.Close()
		if rec := l.records.wait(t, n+1)[n]; rec.Decision != "deny" || rec.Kind != "connect" || rec.Error == nil {
			t.Errorf("%q: %+v", config.ServerName, rec)
		}
	}
	if len(l.dialled()) > 0 {
		t.Error(fmt.Sprint(l.dialled()))
	}
}
