package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLimitsSurvive: what limits have counted is known to the next supervisor.
func TestLimitsSurvive(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\nnetwork: {limits: {requests: 4}}\n")
	if out, code := l.moat("run", "-d", "-n", "lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	const ask = `curl -s -m 20 -o /dev/null -w "%{http_code} " http://example.com/`
	got, _ := l.inside(ask + ";" + ask + ";" + ask)
	l.killSupervisor(t)
	more, _ := l.inside(ask + ";" + ask)
	if got+more != "200 200 200 200 407 " {
		t.Errorf("answers before and after the kill: %q and %q", got, more)
	}
}

// TestUpstreamProxySurvives: so is the password of the upstream proxy, which is in no file of the run.
func TestUpstreamProxySurvives(t *testing.T) {
	const password = "proxy-pass-83c1"
	l := newLab(t, "command: [sleep, \"1000\"]\n")
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+password))
	beyond := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "beyond the proxy") }))
	t.Cleanup(beyond.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		joinTo(w, beyond.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	config := filepath.Join(filepath.Dir(l.project), "moat", "config.yaml")
	text := fmt.Sprintf("egress:\n  upstream_proxy: http://me:%s@%s\n", password, proxy.Listener.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := l.moat("run", "-d", "-n", "lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	if err := os.WriteFile(config, nil, 0o600); err != nil { // only the search below must not find it there
		t.Fatal(err)
	}
	for range 2 {
		if got, _ := l.inside(`curl -sS -m 20 http://far.example/`); got != "beyond the proxy" {
			t.Errorf("through the proxy: %q", got)
		}
		l.killSupervisor(t)
	}
	l.searchFor(t, password)
}

// joinTo answers a CONNECT request and copies between its client and a server.
func joinTo(w http.ResponseWriter, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.Copy(client, strings.NewReader("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}
