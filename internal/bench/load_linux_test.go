package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// loadVariable has this program be a client that asks a server, in a sandbox or outside, and then says how it went. Its
// value is a load.
const loadVariable = "MOAT_BENCH_LOAD"

// load is what a client is to do.
type httpLoad struct {
	URL     string
	Address string // dialled instead of the URL's host, "" for none
	Roots   string // a file of certificates to trust besides the system's, "" for none
	Two     bool   // HTTP/2
	Fresh   bool   // a connection for each request
	Clients int
	For     time.Duration // how long; 0: as often as Times says
	Times   int
	Hold    bool // open Clients connections, and keep them until all have had an answer
	Event   bool // only the first piece of the answer counts
}

// went is how it went.
type went struct {
	Requests, Bytes int64
	Took            time.Duration // each of Clients
	Each            []time.Duration
	Error           string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(loadVariable); text != "" {
		os.Exit(clientMain(text))
	}
	os.Exit(m.Run())
}

func clientMain(text string) int {
	var l httpLoad
	var w went
	err := json.Unmarshal([]byte(text), &l)
	if err == nil {
		w, err = l.run()
	}
	if err != nil {
		w.Error = err.Error()
	}
	if json.NewEncoder(os.Stdout).Encode(w) != nil {
		return 1
	}
	return 0
}

// run does what is to be done.
func (l httpLoad) run() (went, error) {
	client, err := l.client()
	if err != nil {
		return went{}, err
	}
	if l.Hold {
		return l.hold(client)
	}
	if _, _, err := l.ask(client); err != nil { // a connection, and everybody's caches
		return went{}, err
	}
	var all went
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for range l.Clients {
		wg.Go(func() {
			mine := l.repeat(client, began)
			mu.Lock()
			defer mu.Unlock()
			all.Requests += mine.Requests
			all.Bytes += mine.Bytes
			all.Each = append(all.Each, mine.Each...)
			if mine.Error != "" {
				all.Error = mine.Error
			}
		})
	}
	wg.Wait()
	all.Took = time.Since(began)
	slices.Sort(all.Each)
	if len(all.Each) > 2000 { // every so many are enough
		step := len(all.Each) / 1000
		kept := all.Each[:0]
		for i := 0; i < len(all.Each); i += step {
			kept = append(kept, all.Each[i])
		}
		all.Each = kept
	}
	return all, nil
}

func (l httpLoad) repeat(client *http.Client, began time.Time) (w went) {
	for n := 0; n < l.Times || l.For > 0 && time.Since(began) < l.For; n++ {
		bytes, took, err := l.ask(client)
		if err != nil {
			w.Error = err.Error()
			return w
		}
		w.Requests++
		w.Bytes += bytes
		w.Each = append(w.Each, took)
		if l.Fresh {
			client.CloseIdleConnections()
		}
	}
	return w
}

// ask makes one request.
func (l httpLoad) ask(client *http.Client) (n int64, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	began := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL, nil)
	if err != nil {
		return 0, 0, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, 0, errors.New(answer.Status)
	}
	if l.Event {
		_, err = io.ReadFull(answer.Body, make([]byte, len(firstEvent)))
		return 0, time.Since(began), err
	}
	n, err = io.Copy(io.Discard, answer.Body)
	return n, time.Since(began), err
}

// hold opens all connections, asks on each of them, and closes none before the last one has had its answer.
func (l httpLoad) hold(client *http.Client) (all went, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	together := make(chan struct{})
	began := time.Now()
	for range l.Clients {
		wg.Go(func() {
			r, err := http.NewRequest(http.MethodGet, l.URL, nil)
			if err == nil {
				var answer *http.Response
				if answer, err = client.Do(r); err == nil {
					defer answer.Body.Close()
					_, err = io.ReadFull(answer.Body, make([]byte, len(firstEvent)))
				}
			}
			mu.Lock()
			if err != nil {
				all.Error = err.Error()
			} else {
				all.Requests++
			}
			if all.Took = time.Since(began); all.Requests == int64(l.Clients) || all.Error != "" {
				select {
				case <-together:
				default:
					close(together)
				}
			}
			mu.Unlock()
			<-together
		})
	}
	wg.Wait()
	return all, nil
}

func (l httpLoad) client() (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if l.Roots != "" {
		pem, err := os.ReadFile(l.Roots)
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read roots: %w", err)
		}
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true, MaxIdleConnsPerHost: 2 * l.Clients, Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if l.Address != "" {
				address = l.Address
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	t.Protocols.SetHTTP1(!l.Two)
	t.Protocols.SetHTTP2(l.Two)
	return &http.Client{Transport: t}, nil
}

// firstEvent is what an endless answer begins with.
const firstEvent = "data: one\n\n"

// serveLoad is the server that is asked.
func serveLoad(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/large":
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(largeAnswer))
		piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
		for left := largeAnswer; left > 0; left -= len(piece) {
			if _, err := w.Write(piece[:min(left, len(piece))]); err != nil {
				return
			}
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, firstEvent)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":12345,"name":"a repository","url":"https://api.example.com/repos/a/b","private":true}`)
	}
}

// largeAnswer is one that takes a while.
const largeAnswer = 1 << 30
