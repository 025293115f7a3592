package ca

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"strings"
)

// Leaf returns the certificate of a host: an address in its usual spelling, or a name in lower-case ASCII without a
// trailing dot; anything else is an error that wraps [ErrHost]. It is shared and must not be changed. The chain is the
// leaf alone, since who trusts the root has it.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	e, err := a.entry(host)
	if err != nil {
		return nil, err
	}
	return e.cert, nil
}

// ServerConfig returns the configuration for the server's end of connections that were made to expect, spelled as for
// Leaf. It is shared by all of them, so that sessions are resumed for the same host and for no other, and must not be
// changed. A client that asks for another name by SNI, or for none although a name is expected, is answered with the
// alert unrecognized_name, also when it resumes a session; for an address there must be no SNI (RFC 6066 section 3).
func (a *Authority) ServerConfig(expect string) (*tls.Config, error) {
	e, err := a.entry(expect)
	if err != nil {
		return nil, err
	}
	return e.conf, nil
}

func (a *Authority) entry(host string) (*entry, error) {
	if err := checkHost(host); err != nil {
		return nil, err
	}
	e := a.cache.get(host, a.fill)
	return e, e.err
}

func (a *Authority) fill(e *entry) {
	der, err := a.mint(e.host)
	if err != nil {
		e.err = err
		return
	}
	e.cert = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey}
	e.conf = serverConfig(e.host, e.cert)
}

func serverConfig(expect string, cert *tls.Certificate) *tls.Config {
	// Without certificates, and without tickets so that it comes to asking for one, the handshake ends with the alert
	// unrecognized_name. An error from GetConfigForClient would be internal_error, which says nothing to a client.
	refuse := &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	return &tls.Config{
		Certificates: []tls.Certificate{*cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		// The other end is on this machine: there is nobody to record the exchange for a quantum computer.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		// This is asked for resumed sessions too, GetCertificate is not.
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if !asksFor(hello.ServerName, expect) {
				return refuse, nil
			}
			return nil, nil
		},
	}
}

// asksFor reports whether a client that sends this SNI means the expected host.
func asksFor(sni, expect string) bool {
	if _, err := netip.ParseAddr(expect); err == nil {
		return sni == ""
	}
	return strings.EqualFold(sni, expect) && len(sni) == len(expect)
}

// Bundle is the content of a file of trusted roots: those of the host, and the run's own at the end. Of hostRoots only
// the certificates are taken, each once; comments and everything else stay behind.
func (a *Authority) Bundle(hostRoots []byte) []byte {
	// Not by encoding/pem: there are over a hundred, and a run waits for this.
	var out bytes.Buffer
	out.Grow(len(hostRoots) + len(a.rootPEM) + 4<<10)
	seen := make(map[string]bool)
	for rest := string(hostRoots); ; {
		_, after, found := strings.Cut(rest, pemBegin)
		body, next, whole := strings.Cut(after, pemEnd)
		if !found || !whole {
			break
		}
		if rest = after; notBase64(body) {
			continue // what begins here is cut off; another one may begin in it
		}
		rest = next
		if !seen[body] {
			seen[body] = true
			for _, part := range []string{pemBegin, "\n", strings.TrimSpace(body), "\n", pemEnd, "\n"} {
				out.WriteString(part)
			}
		}
	}
	out.Write(a.rootPEM)
	return out.Bytes()
}

// The lines around a certificate (RFC 7468, 5).
const (
	pemBegin = "-----BEGIN CERTIFICATE-----"
	pemEnd   = "-----END CERTIFICATE-----"
)

// notBase64 tells if text holds anything but base64 and the ends of lines.
func notBase64(text string) bool {
	for _, c := range []byte(text) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/', c == '=', c == '\n', c == '\r':
		default:
			return true
		}
	}
	return false
}
