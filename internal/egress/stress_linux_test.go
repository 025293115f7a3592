package egress_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/journal"
)

// settled waits until a count is back at its start.
func settled(t *testing.T, what string, start int, count func() int) {
	t.Helper()
	limit := time.Now().Add(patience)
	for count() > start {
		if time.Now().After(limit) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d %s are left of %d before:\n%.8000s", count(), what, start, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
		wait := time.NewTimer(20 * time.Millisecond)
		<-wait.C
	}
}

// descriptors counts what is open, without the pipes that net keeps for splice(2) until they are collected.
func descriptors() int {
	runtime.GC()
	runtime.GC() // a sync.Pool lets go of what it has in the second one
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// TestThousands holds 2,000 connections at the same time, all of which work, and leaves nothing behind.
func TestThousands(t *testing.T) {
	const clients = 2000
	server := listen(t, "203.0.113.10:9000", echo)
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000"), connections: clients})
	first := l.dial(t, "tcp", server)
	_, _ = io.WriteString(first, "\x00")
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	first.Close()
	l.records.wait(t, "the first connection", func(r journal.Request) bool { return r.BytesIn == 1 })
	goroutines, open := runtime.NumGoroutine(), descriptors()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, clients)
	for i := range conns {
		conn, err := l.tryDial("tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() {
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			sent := make(chan error, 1)
			go func() {
				_, err := io.CopyN(conn, zeros{}, 100_000)
				sent <- err
			}()
			if _, err := io.CopyN(io.Discard, conn, 100_000); err != nil {
				t.Error(err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	runtime.GC()
	runtime.ReadMemStats(&during)
	t.Logf("%d idle connections: %d descriptors each, %.1f kB of heap and stacks each (client and server in the test included)",
		clients, (descriptors()-open)/clients, float64(during.HeapInuse+during.StackInuse-before.HeapInuse-before.StackInuse)/clients/1024)

	// All places are taken: one more waits, and is served as soon as there is one.
	late := l.dial(t, "tcp", server)
	_, _ = io.WriteString(late, "\x00late")
	_ = late.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := late.Read(make([]byte, 5)); err == nil {
		t.Errorf("a connection over the limit was served %d bytes", n)
	}
	for _, conn := range conns {
		conn.Close()
	}
	_ = late.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(late, make([]byte, 5)); err != nil {
		t.Errorf("the connection that waited: %v", err)
	}
	late.Close()
	settled(t, "goroutines", goroutines, runtime.NumGoroutine)
	settled(t, "descriptors", open, descriptors)
}

func BenchmarkConnect(b *testing.B) {
	server := listen(b, "203.0.113.10:9000", echo)
	l := newLab(b, labConfig{policy: strict("203.0.113.10:9000")})
	one := make([]byte, 1)
	ping := func(b *testing.B, conn net.Conn) {
		if _, err := conn.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			b.Fatal(err)
		}
		// Thousands of ports in TIME-WAIT would make the search for a free one the measure.
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			conn, err := net.Dial("tcp", server)
			if err != nil {
				b.Fatal(err)
			}
			ping(b, conn)
		}
	})
	b.Run("door", func(b *testing.B) {
		for b.Loop() {
			conn, err := l.tryDial("tcp", server)
			if err != nil {
				b.Fatal(err)
			}
			ping(b, conn)
		}
	})
}

// BenchmarkBulk downloads without and with TLS, past the door and through it.
func BenchmarkBulk(b *testing.B) {
	const size = 64 << 20
	plain := listen(b, "203.0.113.10:9000", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		block := make([]byte, 256<<10)
		for left := size; left > 0; left -= len(block) {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	})
	l := newLab(b, labConfig{policy: strict("203.0.113.10:9000", "plain.lab.test")})
	download := func(dial func() (net.Conn, error)) func(*testing.B) {
		return func(b *testing.B) {
			b.SetBytes(size)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				conn, err := dial()
				if err != nil {
					b.Fatal(err)
				}
				_, _ = conn.Write([]byte{0})
				for left := size; left > 0; {
					n, err := conn.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					left -= n
				}
				conn.Close()
			}
		}
	}
	b.Run("direct", download(func() (net.Conn, error) { return net.Dial("tcp", plain) }))
	b.Run("door", download(func() (net.Conn, error) { return l.tryDial("tcp", plain) }))
	https := func(addr string) func(*testing.B) {
		return func(b *testing.B) {
			b.SetBytes(size)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.trust(b), ServerName: "plain.lab.test"}}
			transport.DialContext = func(_ context.Context, network, _ string) (net.Conn, error) {
				if strings.HasPrefix(addr, "198.18.") {
					return l.tryDial(network, addr)
				}
				return net.Dial(network, addr)
			}
			defer transport.CloseIdleConnections()
			for b.Loop() {
				resp, err := (&http.Client{Transport: transport}).Get("https://plain.lab.test/big")
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
					b.Fatal(n, err)
				}
				resp.Body.Close()
			}
		}
	}
	b.Run("https-direct", https(l.web.Listener.Addr().String()))
	b.Run("https-door", https(l.lookup(b, "plain.lab.test")))
}
