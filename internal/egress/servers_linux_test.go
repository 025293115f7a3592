package egress_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"moat/internal/egress"
)

// listen serves connections on an address of the outside until the test ends.
func listen(t testing.TB, addr string, serve func(*net.TCPConn)) string {
	t.Helper()
	needLab(t)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// echo sends everything back, and the end too.
func echo(conn *net.TCPConn) {
	_, _ = io.Copy(conn, conn)
	_ = conn.CloseWrite()
}

// banner speaks first, then sends back lines.
func banner(conn *net.TCPConn) {
	fmt.Fprint(conn, "220 hello\r\n")
	echo(conn)
}

// trap listens where nobody may come.
type trap struct{ hits atomic.Int64 }

func newTrap(t testing.TB, ports ...int) *trap {
	t.Helper()
	tr := &trap{}
	for _, host := range []string{"203.0.113.66", "[2001:db8::66]", "127.0.0.1"} {
		for _, port := range ports {
			listen(t, fmt.Sprintf("%s:%d", host, port), func(*net.TCPConn) { tr.hits.Add(1) })
		}
	}
	t.Cleanup(func() {
		if n := tr.hits.Load(); n > 0 {
			t.Errorf("%d connections arrived where none may", n)
		}
	})
	return tr
}

// answerer is an Interceptor that tells what it was given.
type answerer struct {
	mu      sync.Mutex
	targets []egress.Target
}

func (a *answerer) Intercept(ctx context.Context, conn net.Conn, t egress.Target) {
	a.mu.Lock()
	a.targets = append(a.targets, t)
	a.mu.Unlock()
	if t.TLS {
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		return
	}
	body := fmt.Sprintf("intercepted %s port %d proxy %v for %s\n", t.Host, t.Port, t.Proxy, req.Host)
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (a *answerer) last(t testing.TB) egress.Target {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.targets) == 0 {
		t.Fatal("nothing was intercepted")
	}
	return a.targets[len(a.targets)-1]
}
