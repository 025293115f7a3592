// Package ca is the certificate authority of one run: it lets the egress end the TLS connections of one sandbox, and
// no others.
//
// The authority is made with the run and exists in memory only. Its key and the key of its leaves are never handed out,
// printed or written; what leaves the package is certificates, and the ability to serve TLS as one expected host. Leaves
// are made on demand, at most once at a time for each host, and kept in a bounded cache. All methods may be called by
// any number of goroutines. Which hosts may be served is decided by the caller, and so is the trust that the
// sandbox puts into the root: package ca only makes the content of the file that carries it.
package ca

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// lifetime is how long a run may last at most; leaves end with their root, well within the 397 days that
	// clients accept (CA/Browser Forum Baseline Requirements 6.3.2).
	lifetime = 90 * 24 * time.Hour
	// backdate forgives a sandbox whose clock is behind.
	backdate = time.Hour
	// maxCommonName is ub-common-name of RFC 5280 appendix A.1, in characters.
	maxCommonName = 64
)

// ErrHost says that a host is not one that a certificate can be made for.
var ErrHost = errors.New("no certificate can be made for this host")

// Authority signs for one run. It prints and marshals as a fixed text.
type Authority struct {
	root    *x509.Certificate
	rootPEM []byte
	key     signer
	leafKey signer // one for all leaves: they serve the same process
	cache   *cache
}

// New makes the authority of a run that starts at now. The name is shown to people who look at the certificate; of a
// long one the beginning is shown.
func New(runName string, now time.Time) (*Authority, error) {
	key, err := newSigner()
	if err != nil {
		return nil, fmt.Errorf("make the run's authority: %w", err)
	}
	leafKey, err := newSigner()
	if err != nil {
		return nil, fmt.Errorf("make the run's authority: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, fmt.Errorf("make the run's authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"moat"}, CommonName: commonName("moat run " + runName)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	constrain(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the run's root: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the run's root: %w", err)
	}
	return &Authority{
		root:    root,
		rootPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:     key,
		leafKey: leafKey,
		cache:   &cache{entries: make(map[string]*list.Element)},
	}, nil
}

// constrain excludes names and addresses that the egress never serves (RFC 5280 section 4.2.1.10), so that a leaf for
// them would be worth nothing to anybody. Permitted names cannot be given: what is allowed may change while the
// run lives. Private addresses are not excluded, since a person may pin a host to one.
//
// The extension is not critical, against the RFC's wish: Mbed TLS, which does not know it, would refuse the root and the
// whole bundle with it (github.com/Mbed-TLS/mbedtls/issues/9324). OpenSSL and Go obey it all the same (tested here);
// Java does not look at it in a root.
func constrain(root *x509.Certificate) {
	root.ExcludedDNSDomains = []string{"localhost"}
	for _, excluded := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8",
	} {
		prefix := netip.MustParsePrefix(excluded)
		root.ExcludedIPRanges = append(root.ExcludedIPRanges, &net.IPNet{
			IP:   prefix.Addr().AsSlice(),
			Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		})
	}
}

// RootPEM is the root's certificate. The caller may keep and change it.
func (a *Authority) RootPEM() []byte { return append([]byte(nil), a.rootPEM...) }

// mint makes the leaf of a host. It takes some 0.2 ms.
func (a *Authority) mint(host string) ([]byte, error) {
	serial, err := serialNumber()
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"moat"}},
		NotBefore:             a.root.NotBefore,
		NotAfter:              a.root.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		template.IPAddresses = []net.IP{addr.AsSlice()}
	} else {
		template.DNSNames = []string{host}
		if len(host) <= maxCommonName {
			template.Subject.CommonName = host
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", host, err)
	}
	return der, nil
}

// checkHost takes an address in its usual spelling, or a name in lower-case ASCII without a trailing dot, as package
// policy spells both.
func checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" || addr.Is4In6() || addr.String() != host {
			return fmt.Errorf("%w: %q", ErrHost, host)
		}
		return nil
	}
	if len(host) == 0 || len(host) > 253 {
		return fmt.Errorf("%w: a name of %d bytes", ErrHost, len(host))
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("%w: %q", ErrHost, host)
		}
	}
	return nil
}

// commonName makes text that fits into a certificate's name.
func commonName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxCommonName {
		return string(runes[:maxCommonName])
	}
	return text
}

// serialNumber is 127 random bits, positive and not zero (RFC 5280 section 4.1.2.2).
func serialNumber() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	for {
		n, err := rand.Int(rand.Reader, limit)
		if err != nil {
			return nil, fmt.Errorf("draw a serial number: %w", err)
		}
		if n.Sign() > 0 {
			return n, nil
		}
	}
}

func newSigner() (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, fmt.Errorf("draw a key: %w", err)
	}
	return signer{key}, nil
}
