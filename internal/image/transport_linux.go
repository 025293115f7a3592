package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ErrInsecure says that something would have been asked for without TLS.
var ErrInsecure = errors.New("http is for registries on this machine only")

// guarded lets plain http pass from a registry on this machine to this machine only, wherever a registry redirects to: a client
// that follows a registry's every word could be sent to ask services of the person's own machine.
type guarded struct {
	next  http.RoundTripper
	local bool // the registry is on this machine
}

// newTransport is how the registry is talked to. The environment's proxy (HTTPS_PROXY, NO_PROXY) is used, as by docker.
func newTransport(registry name.Registry, caFiles []string) (http.RoundTripper, error) {
	host := registry.RegistryStr()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	g := &guarded{next: remote.DefaultTransport, local: loopback(host)}
	common, ok := remote.DefaultTransport.(*http.Transport)
	if len(caFiles) == 0 || !ok {
		return g, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's roots: %w", err)
	}
	for _, file := range caFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read certificates: there are none in %s", file)
		}
	}
	mine := common.Clone()
	mine.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	mine.DisableKeepAlives = true // it is used for one pull
	g.next = mine
	return g, nil
}

// RoundTrip implements [http.RoundTripper].
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && (!g.local || !loopback(r.URL.Hostname())) {
		return nil, fmt.Errorf("%w: %s://%s", ErrInsecure, r.URL.Scheme, r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

// loopback tells whether a host is this machine by what it is called, without asking anybody.
func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
