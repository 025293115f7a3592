package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"moat/internal/policy"
)

// Own is how moat itself reaches the outside, as the person has configured it.
type Own struct {
	Hosts   map[string]string // where names are dialled: egress.hosts
	CAFiles []string          // egress.ca_files
	Proxy   *url.URL          // egress.upstream_proxy; may be nil
}

// ownLimit bounds one request of moat's own.
const ownLimit = 30 * time.Second

// Client returns a client for moat's own requests, which are not the sandbox's and are not subject to its policy: those that
// renew a credential, and those of commands. Certificates are verified, addresses of this machine and its networks are refused
// unless the person pinned them, and redirects are not followed.
func (o Own) Client() (*http.Client, error) {
	pins, err := ParsePins(o.Hosts)
	if err != nil {
		return nil, fmt.Errorf("egress.hosts: %w", err)
	}
	anything, _ := policy.Compile(policy.Config{Mode: policy.Permissive})
	d, err := New(Config{Policy: func() *policy.Policy { return anything }, Pins: pins, Proxy: o.Proxy})
	if err != nil {
		return nil, err
	}
	roots, err := o.roots()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:       ownLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.dialAddress, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		},
	}, nil
}

// dialAddress is for a Transport.
func (d *Dialer) dialAddress(ctx context.Context, _, address string) (net.Conn, error) {
	name, digits, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host, err := policy.Name(name)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial port %q: %w", digits, err)
	}
	conn, err := d.Dial(ctx, host, uint16(port))
	if err != nil {
		return nil, err
	}
	return conn.Conn, nil
}

// roots are the system's and the person's own; nil: the system's alone.
func (o Own) roots() (*x509.CertPool, error) {
	if len(o.CAFiles) == 0 {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, file := range o.CAFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("egress.ca_files: %w", err)
		}
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("egress.ca_files: there is no certificate in %s", file)
		}
	}
	return roots, nil
}
