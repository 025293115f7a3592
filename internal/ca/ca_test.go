package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := New("demo", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func roots(t testing.TB, a *Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.RootPEM()) {
		t.Fatal("the root is not a certificate")
	}
	return pool
}

func leaf(t testing.TB, a *Authority, host string) *x509.Certificate {
	t.Helper()
	c, err := a.Leaf(host)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Certificate) != 1 {
		t.Fatalf("chain of %d certificates", len(c.Certificate))
	}
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestRoot(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	a, err := New(strings.Repeat("ü", 90)+"\x00\n", now)
	if err != nil {
		t.Fatal(err)
	}
	root := a.root
	if got := len([]rune(root.Subject.CommonName)); got != maxCommonName {
		t.Errorf("common name of %d characters", got)
	}
	if !root.NotBefore.Equal(now.Add(-time.Hour)) || !root.NotAfter.Equal(now.Add(90*24*time.Hour)) {
		t.Errorf("valid from %v to %v", root.NotBefore, root.NotAfter)
	}
	if !root.IsCA || root.MaxPathLen != 0 || !root.MaxPathLenZero || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("the root may do the wrong things: %+v", root.KeyUsage)
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		t.Error(err)
	}
	a.RootPEM()[0] = 'x'
	if block, _ := pem.Decode(a.RootPEM()); block == nil || !bytes.Equal(block.Bytes, root.Raw) {
		t.Error("RootPEM is not the root, or can be changed from outside")
	}
}

func TestLeaf(t *testing.T) {
	a := newAuthority(t)
	long := strings.Repeat(strings.Repeat("a", 50)+".", 4) + "example"
	for _, host := range []string{"api.example.com", "a_b.example.com", "xn--bcher-kva.example", "db", long, "203.0.113.7", "2001:db8::7", "10.1.2.3"} {
		cert := leaf(t, a, host)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots(t, a), DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if len(cert.DNSNames)+len(cert.IPAddresses) != 1 {
			t.Errorf("%s: names %v, addresses %v", host, cert.DNSNames, cert.IPAddresses)
		}
		if cert.IsCA || cert.NotBefore.Before(a.root.NotBefore) || cert.NotAfter.After(a.root.NotAfter) ||
			cert.NotAfter.Sub(cert.NotBefore) > 397*24*time.Hour || cert.SerialNumber.BitLen() < 64 {
			t.Errorf("%s: %+v", host, cert)
		}
	}
	if a, b := leaf(t, a, "a.example"), leaf(t, a, "b.example"); a.SerialNumber.Cmp(b.SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
	for _, host := range []string{"", ".", "a..b", "a.", ".a", "*.example.com", "A.example", "a b", "a\x00b", "ü.example", "a/b", "a%b",
		"fe80::1%eth0", "::ffff:1.2.3.4", "2001:DB8::1", "[2001:db8::1]", "127.1:80", strings.Repeat("a.", 127) + "a", strings.Repeat("a", 64)} {
		if _, err := a.Leaf(host); !errors.Is(err, ErrHost) {
			t.Errorf("Leaf(%q): %v, want ErrHost", host, err)
		}
		if _, err := a.ServerConfig(host); !errors.Is(err, ErrHost) {
			t.Errorf("ServerConfig(%q): %v, want ErrHost", host, err)
		}
	}
}

// A leaf for what the root excludes is made, if somebody asks, and is worth nothing.
func TestConstraints(t *testing.T) {
	a := newAuthority(t)
	for _, host := range []string{"localhost", "x.localhost", "127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255", "0.0.0.0"} {
		if _, err := leaf(t, a, host).Verify(x509.VerifyOptions{Roots: roots(t, a), DNSName: host}); err == nil {
			t.Errorf("a certificate for %s is accepted", host)
		}
	}
}

func TestCacheIsBoundedAndMintsOnce(t *testing.T) {
	a := newAuthority(t)
	var wg sync.WaitGroup
	got := make([]*tls.Certificate, 32)
	for i := range got {
		wg.Go(func() { got[i], _ = a.Leaf("one.example") })
	}
	wg.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Fatal("callers at the same time have different certificates")
		}
	}
	for i := range 3 * maxLeaves {
		if _, err := a.Leaf(fmt.Sprintf("h%d.example", i)); err != nil {
			t.Fatal(err)
		}
		if i == maxLeaves/2 || i == maxLeaves+maxLeaves/4 {
			again, err := a.Leaf("one.example")
			if err != nil || again != got[0] {
				t.Fatalf("a host in use was forgotten: %v", err)
			}
		}
	}
	if n := a.cache.order.Len(); n != maxLeaves || len(a.cache.entries) != n {
		t.Errorf("%d and %d entries, want %d", n, len(a.cache.entries), maxLeaves)
	}
	if again, _ := a.Leaf("one.example"); again == got[0] {
		t.Error("a host that nobody used was kept")
	}
}

// dial makes a handshake over real TCP: the server expects a host, the client says sni.
func dial(t *testing.T, server *tls.Config, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(60 * time.Second))
		s := tls.Server(c, server)
		if err := s.Handshake(); err != nil {
			done <- err
			return
		}
		_, err = s.Write([]byte("x"))
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(60 * time.Second))
	c := tls.Client(raw, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // tickets of TLS 1.3 come with the first byte
	}
	state = c.ConnectionState()
	return state, <-done, clientErr
}

func TestServerConfig(t *testing.T) {
	a := newAuthority(t)
	config := func(host string) *tls.Config {
		c, err := a.ServerConfig(host)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	client := func(sni string) *tls.Config { return &tls.Config{ServerName: sni, RootCAs: roots(t, a)} }
	anything := func(sni string) *tls.Config { return &tls.Config{ServerName: sni, InsecureSkipVerify: true} }
	tests := []struct {
		name, expect string
		client       *tls.Config
		ok           bool
	}{
		{"same name", "api.example", client("api.example"), true},
		{"capitals", "api.example", client("API.Example"), true},
		{"other name", "api.example", anything("shared.example"), false},
		{"no name", "api.example", anything(""), false},
		{"address", "203.0.113.7", client("203.0.113.7"), true},
		{"IPv6 address", "2001:db8::7", client("2001:db8::7"), true},
		{"name where an address is expected", "203.0.113.7", anything("api.example"), false},
		{"address where a name is expected", "api.example", anything("203.0.113.7"), false},
		{"TLS 1.2", "api.example", &tls.Config{ServerName: "api.example", RootCAs: roots(t, a), MaxVersion: tls.VersionTLS12}, true},
		{"TLS 1.1", "api.example", &tls.Config{ServerName: "api.example", RootCAs: roots(t, a), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"only P-384", "api.example", &tls.Config{ServerName: "api.example", RootCAs: roots(t, a), CurvePreferences: []tls.CurveID{tls.CurveP384}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, serverErr, clientErr := dial(t, config(test.expect), test.client)
			if (serverErr == nil) != test.ok || (clientErr == nil) != test.ok {
				t.Errorf("server: %v, client: %v, want success: %v", serverErr, clientErr, test.ok)
			}
			if strings.Contains(test.name, "other name") && (clientErr == nil || !strings.Contains(clientErr.Error(), "unrecognized name")) {
				t.Errorf("the client is told %v", clientErr)
			}
		})
	}
	for _, alpn := range []string{"h2", "http/1.1"} {
		c := client("api.example")
		c.NextProtos = []string{alpn}
		if state, _, err := dial(t, config("api.example"), c); err != nil || state.NegotiatedProtocol != alpn {
			t.Errorf("%s: agreed on %q, %v", alpn, state.NegotiatedProtocol, err)
		}
	}
}

// oneTicket gives every connection the same session, whatever its name is.
type oneTicket struct{ session *tls.ClientSessionState }

func (o *oneTicket) Get(string) (*tls.ClientSessionState, bool)    { return o.session, o.session != nil }
func (o *oneTicket) Put(_ string, session *tls.ClientSessionState) { o.session = session }

func TestResumption(t *testing.T) {
	a := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tickets := &oneTicket{}
		// Verification is off so that the server alone decides what a stolen ticket is worth.
		client := func(sni string) *tls.Config {
			return &tls.Config{ServerName: sni, InsecureSkipVerify: true, MaxVersion: version, ClientSessionCache: tickets}
		}
		cred, err := a.ServerConfig("cred.example")
		if err != nil {
			t.Fatal(err)
		}
		shared, err := a.ServerConfig("shared.example")
		if err != nil {
			t.Fatal(err)
		}
		if state, _, err := dial(t, cred, client("cred.example")); err != nil || state.DidResume {
			t.Fatalf("first connection: %v", err)
		}
		if state, _, err := dial(t, cred, client("cred.example")); err != nil || !state.DidResume {
			t.Errorf("%x: a session of the same host is not resumed: %v", version, err)
		}
		if state, serverErr, _ := dial(t, cred, client("shared.example")); serverErr == nil || state.DidResume {
			t.Errorf("%x: another name passes with a ticket", version)
		}
		if state, _, err := dial(t, shared, client("shared.example")); err != nil || state.DidResume {
			t.Errorf("%x: a session moved to another host: %v", version, err)
		}
	}
}

func TestKeysStayInside(t *testing.T) {
	a := newAuthority(t)
	c, err := a.Leaf("api.example")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", a, "c", c.PrivateKey)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "a", a, "c", c.PrivateKey)
	marshalled, err := json.Marshal([]any{a, c.PrivateKey})
	if err != nil {
		t.Fatal(err)
	}
	said := log.String() + string(marshalled)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, c.PrivateKey); got != redacted {
			t.Errorf("%s prints a key as %q", format, got)
		}
		said += fmt.Sprintf(format, a) + fmt.Sprintf(format, *c) + fmt.Sprintf(format, struct{ A any }{a})
	}
	for _, key := range []signer{a.key, a.leafKey} {
		secret, err := key.key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), string(secret), fmt.Sprint(secret), new(big.Int).SetBytes(secret).String()} {
			if strings.Contains(said, form) {
				t.Fatalf("a key is printed as %q", form)
			}
		}
	}
}

func TestBundle(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	host := append([]byte("# a comment\r\n"), other.RootPEM()...)
	host = append(append(append(host, key...), other.RootPEM()...), "-----BEGIN CERTIFICATE-----\ncut off"...)
	want := string(other.RootPEM()) + string(a.RootPEM())
	if got := string(a.Bundle(host)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := a.Bundle([]byte("nonsense")); !bytes.Equal(got, a.RootPEM()) {
		t.Errorf("got %q", got)
	}
}

func BenchmarkLeafNewName(b *testing.B) {
	a := newAuthority(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := a.Leaf(fmt.Sprintf("h%d.example", i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafKnownName(b *testing.B) {
	a := newAuthority(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Leaf("api.example"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestKeyStore: a certificate that is not whole is left out, and the others are counted.
func TestKeyStore(t *testing.T) {
	a := newAuthority(t)
	block, _ := pem.Decode(a.RootPEM())
	cut := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes[:len(block.Bytes)-1]})
	got := KeyStore(slices.Concat(cut, []byte(pemBegin+"\n!\n"+pemEnd+"\n"), a.RootPEM()))
	if count := binary.BigEndian.Uint32(got[8:]); count != 1 {
		t.Errorf("%d certificates", count)
	}
	if !bytes.Contains(got, block.Bytes) || bytes.Count(got, []byte("X.509")) != 1 {
		t.Errorf("in it is %q", got)
	}
	if empty := KeyStore(nil); len(empty) != 12+20 {
		t.Errorf("an empty one has %d bytes", len(empty))
	}
}
