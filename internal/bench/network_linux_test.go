package bench

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/ca"
)

// Names of the servers: of one the run holds a credential, so its connections are looked into; the other one's are passed
// through.
const (
	injected = "cred.bench.test"
	passed   = "plain.bench.test"
)

// street is a server and two ways to it: straight, and out of a run.
type street struct {
	b       *bench
	run     string
	address string
	roots   string
	self    string // this program, on the host
}

// openStreet starts the server and a run that reaches it.
func openStreet(t *testing.T, b *bench) *street {
	t.Helper()
	s := &street{b: b, self: "/proc/self/exe"}
	world, err := ca.New("bench", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(serveLoad))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{}
	for _, name := range []string{injected, passed} {
		leaf, err := world.Leaf(name)
		if err != nil {
			t.Fatal(err)
		}
		server.TLS.Certificates = append(server.TLS.Certificates, *leaf)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().(*net.TCPAddr).String()
	s.roots = filepath.Join(b.dir, "world.pem")
	config := fmt.Sprintf("egress:\n  hosts: {%q: %q, %q: %q}\n  ca_files: [%q]\n", injected, s.address, passed, s.address, s.roots)
	for name, text := range map[string]string{
		s.roots:                              string(world.RootPEM()),
		filepath.Join(b.home, "config.yaml"): config,
		filepath.Join(b.home, "providers/bench.yaml"): "name: bench\nhosts: [" + injected + "]\ninject: {header: Authorization, format: \"Bearer {token}\"}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	grant := exec.CommandContext(t.Context(), b.moat, "grant", "bench", "--token-stdin")
	grant.Env, grant.Stdin = b.env, strings.NewReader("bench_pXq7Zr2Lw9TkVn4Ys8Hd\n")
	if out, err := grant.CombinedOutput(); err != nil {
		t.Fatalf("grant: %v\n%s", err, out)
	}
	if s.self, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	s.run = strings.TrimSpace(b.output(t, "run", "-d", "--grant", "bench", "-m", filepath.Dir(s.self)+":/bench:ro", "--", "sleep", "100000"))
	return s
}

func (s *street) close(t *testing.T) {
	t.Helper()
	s.b.destroy(t, s.run)
}

// straight and through have a load done on each of the ways.
func (s *street) straight(t *testing.T, l httpLoad) went {
	t.Helper()
	l.Address, l.Roots = s.address, s.roots
	return s.do(t, l, s.self)
}

func (s *street) through(t *testing.T, l httpLoad) went {
	t.Helper()
	return s.do(t, l, s.b.moat, "exec", "-e", loadVariable, s.run, "--", "/bench/"+filepath.Base(s.self))
}

func (s *street) do(t *testing.T, l httpLoad, args ...string) went {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env, cmd.Dir = append(s.b.env, loadVariable+"="+string(text)), s.b.dir
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	var w went
	if err != nil || json.Unmarshal(out, &w) != nil || w.Error != "" {
		t.Fatalf("%q: %v, %s %s", args, err, out, errors.Bytes())
	}
	return w
}

// perRequest is the time of one request as the load saw it.
func perRequest(w went) time.Duration { return w.Took / time.Duration(w.Requests) }

// ratio compares the two ways.
func (s *street) ratio(t *testing.T, name string, rounds int, l httpLoad) figure {
	t.Helper()
	var moat, straight series
	for range rounds {
		straight = append(straight, sample{wall: perRequest(s.straight(t, l))})
		moat = append(moat, sample{wall: perRequest(s.through(t, l))})
	}
	return compare(name, wall, moat, straight)
}

// small has a figure in microseconds.
func (f figure) small() figure {
	f.Unit = microseconds
	for _, v := range []*float64{&f.Moat, &f.Min, &f.Peer, &f.Least} {
		*v *= 1000
	}
	f.Limit *= 1000
	return f
}

// measureRequests takes the speed of small requests, into which a credential is put.
func measureRequests(t *testing.T, b *bench) {
	s := openStreet(t, b)
	defer s.close(t)
	url := "https://" + injected + "/x"
	for _, two := range []bool{false, true} {
		version := map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[two]
		b.add(
			s.ratio(t, version+", kept connection, 1 client", 5, httpLoad{URL: url, Two: two, Clients: 1, For: time.Second}).small().to("straight", 2.5),
			s.ratio(t, version+", kept connections, 16 clients", 5, httpLoad{URL: url, Two: two, Clients: 16, For: time.Second}).small().to("straight", 2.86),
			s.ratio(t, version+", a connection each", 5, httpLoad{URL: url, Two: two, Fresh: true, Clients: 1, For: time.Second}).small().to("straight", 2),
		)
		s.added(t, version, httpLoad{URL: url, Two: two, Clients: 1, For: time.Second})
	}
}

// added takes how much later an answer comes.
func (s *street) added(t *testing.T, version string, l httpLoad) {
	t.Helper()
	later := func(name string, rank int, limit float64) func(moat, straight went) {
		return func(moat, straight went) {
			pick := func(w went) float64 { return inMilliseconds(w.Each[min(len(w.Each)-1, len(w.Each)*rank/100)]) }
			v := round(pick(moat) - pick(straight))
			s.b.add(figure{Name: version + ", " + name, Unit: milliseconds, N: len(moat.Each), Moat: v, Min: v, Limit: limit}.small())
		}
	}
	straight, moat := s.straight(t, l), s.through(t, l)
	later("added to an answer, p50", 50, 0.25)(moat, straight)
	later("added to an answer, p99", 99, 1)(moat, straight)
	l = httpLoad{URL: "https://" + injected + "/events", Two: l.Two, Event: true, Clients: 1, Times: 50}
	straight, moat = s.straight(t, l), s.through(t, l)
	later("added to the first event, p50", 50, 3)(moat, straight)
}

// measureDownload takes the speed of a GiB.
func measureDownload(t *testing.T, b *bench) {
	s := openStreet(t, b)
	defer s.close(t)
	for _, d := range []struct {
		name  string
		host  string
		two   bool
		limit float64
	}{
		{"1 GiB, HTTP/1.1, looked into", injected, false, 1.43},
		{"1 GiB, HTTP/2, looked into", injected, true, 1.43},
		{"1 GiB, HTTP/1.1, passed through", passed, false, 1.11},
	} {
		l := httpLoad{URL: "https://" + d.host + "/large", Two: d.two, Clients: 1, Times: 1}
		b.add(s.ratio(t, d.name, 3, l).to("straight", d.limit))
	}
}

// measureBurden takes what is left of much traffic: memory, and descriptors when the clients are gone.
func measureBurden(t *testing.T, b *bench) {
	s := openStreet(t, b)
	defer s.close(t)
	pid := parts(t, s.run)["supervisor"]
	before := descriptors(t, pid)
	held := s.through(t, httpLoad{URL: "https://" + injected + "/events", Clients: 2000, Hold: true})
	b.add(figure{Name: "2,000 connections that wait for events: until all have one", Unit: milliseconds, N: int(held.Requests), Moat: inMilliseconds(held.Took), Min: inMilliseconds(held.Took)})
	s.weigh(t, pid, "supervisor, after 2,000 connections", 0)
	s.through(t, httpLoad{URL: "https://" + injected + "/x", Clients: 16, Times: 100_000 / 16})
	s.through(t, httpLoad{URL: "https://" + injected + "/large", Clients: 2, Times: 5})
	s.weigh(t, pid, "supervisor, after 10 GB and 100,000 requests", 40)
	left := descriptors(t, pid)
	for end := time.Now().Add(30 * time.Second); left > before && time.Now().Before(end); left = descriptors(t, pid) {
		time.Sleep(100 * time.Millisecond) // sleep: another process's descriptors can only be looked at
	}
	b.add(figure{Name: "descriptors that are left when the clients are gone", Unit: times, N: 1, Moat: float64(left - before), Min: float64(left - before)})
	if left > before {
		t.Errorf("%d descriptors before, %d after", before, left)
	}
}

func (s *street) weigh(t *testing.T, pid int, name string, limit float64) {
	t.Helper()
	n, err := private(pid)
	if err != nil {
		t.Fatal(err)
	}
	most, err := peak(pid)
	if err != nil {
		t.Fatal(err)
	}
	s.b.add(
		figure{Name: name + ": private", Unit: megabytes, N: 1, Moat: inMegabytes(n), Min: inMegabytes(n), Limit: limit},
		figure{Name: name + ": most resident", Unit: megabytes, N: 1, Moat: inMegabytes(most), Min: inMegabytes(most)},
	)
}

// descriptors is how many a process has.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
