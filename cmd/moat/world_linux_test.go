package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/ca"
)

// world puts servers behind names, on port 443, with certificates that the lab's moat trusts, and nothing else of the lab's
// network.
func (l *lab) world(t *testing.T, handlers map[string]http.Handler) {
	t.Helper()
	authority, err := ca.New("world", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	home := l.home()
	roots := filepath.Join(home, "world.pem")
	if err := os.WriteFile(roots, authority.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("egress:\n  ca_files: [%q]\n  hosts:\n", roots)
	for host, handler := range handlers {
		config += fmt.Sprintf("    \"%s:443\": %q\n", host, serveTLS(t, authority, host, handler))
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveTLS serves a name and returns the address.
func serveTLS(t *testing.T, authority *ca.Authority, host string, handler http.Handler) string {
	t.Helper()
	config, err := authority.ServerConfig(host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(tls.NewListener(listener, config))
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return listener.Addr().String()
}

// home is the lab's $MOAT_HOME.
func (l *lab) home() string { return filepath.Join(filepath.Dir(l.project), "moat") }

// store stores a credential from standard input.
func (l *lab) store(t *testing.T, input string, args ...string) string {
	t.Helper()
	c := exec.Command(l.bin, append([]string{"grant"}, args...)...)
	c.Env, c.Dir, c.Stdin = l.env, l.project, strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("grant %q: %v, %s", args, err, out)
	}
	return string(out)
}
