package intercept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"moat/internal/egress"
)

// direct is a client that asks the server without anything in between.
func (l *lab) direct(name string, two bool) *http.Client {
	l.t.Helper()
	l.mu.Lock()
	address := l.servers[name]
	l.mu.Unlock()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.world.RootPEM())
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true, Protocols: new(http.Protocols), MaxIdleConnsPerHost: 64,
	}
	t.Protocols.SetHTTP1(!two)
	t.Protocols.SetHTTP2(two)
	l.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// roads are the two ways of a benchmark: their ratio counts.
func roads(b *testing.B, name string, h http.Handler, run func(b *testing.B, c *http.Client)) {
	for _, two := range []bool{false, true} {
		for _, way := range []string{"direct", "intercepted"} {
			b.Run(fmt.Sprintf("%s/two=%v", way, two), func(b *testing.B) {
				l := newLab(b, labOptions{grants: []egress.Grant{labGrant()}})
				l.outside(name, h)
				l.records.forget = true
				c := l.direct(name, two)
				if way == "intercepted" {
					c = l.client(name, two)
				}
				b.ReportAllocs()
				run(b, c)
			})
		}
	}
}

func fetch(b *testing.B, c *http.Client, url string) int64 {
	answer, err := c.Get(url)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err != nil || answer.StatusCode != 200 {
		b.Error(answer.StatusCode, err)
	}
	return n
}

func small(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"id":12345,"name":"a repository","url":"https://api.example.com/repos/a/b","private":true}`)
}

func BenchmarkKeepAlive(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("c=%d", clients), func(b *testing.B) {
			roads(b, "cred.lab.test:443", http.HandlerFunc(small), func(b *testing.B, c *http.Client) {
				fetch(b, c, "https://cred.lab.test/")
				var wg sync.WaitGroup
				work := make(chan struct{})
				for range clients {
					wg.Go(func() {
						for range work {
							fetch(b, c, "https://cred.lab.test/repos/a/b")
						}
					})
				}
				for b.Loop() {
					work <- struct{}{}
				}
				close(work)
				wg.Wait()
			})
		})
	}
}

func BenchmarkNewConnection(b *testing.B) {
	roads(b, "cred.lab.test:443", http.HandlerFunc(small), func(b *testing.B, c *http.Client) {
		for b.Loop() {
			fetch(b, c, "https://cred.lab.test/repos/a/b")
			c.CloseIdleConnections()
		}
	})
}

func BenchmarkDownload(b *testing.B) {
	const size = 256 << 20
	piece := []byte(strings.Repeat(`{"id":12345,"name":"a repository"},`, 1<<10))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for left := size; left > 0; left -= min(left, len(piece)) {
			w.Write(piece[:min(left, len(piece))])
		}
	})
	roads(b, "cred.lab.test:443", h, func(b *testing.B, c *http.Client) {
		b.SetBytes(size)
		for b.Loop() {
			if n := fetch(b, c, "https://cred.lab.test/large"); n != size {
				b.Fatalf("%d bytes", n)
			}
		}
	})
}

// BenchmarkFirstEvent is from a request to the first event of an answer that goes on.
func BenchmarkFirstEvent(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	roads(b, "cred.lab.test:443", h, func(b *testing.B, c *http.Client) {
		for b.Loop() {
			ctx, cancel := context.WithCancel(b.Context())
			r, _ := http.NewRequestWithContext(ctx, "GET", "https://cred.lab.test/events", nil)
			answer, err := c.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(answer.Body, make([]byte, 11)); err != nil {
				b.Fatal(err)
			}
			cancel()
			answer.Body.Close()
		}
	})
}
