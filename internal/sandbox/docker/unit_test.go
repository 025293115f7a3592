//go:build unix

package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

func TestLife(t *testing.T) {
	for word, want := range map[string]sandbox.State{
		"created": sandbox.Gone, "running": sandbox.Running, "paused": sandbox.Running, "restarting": sandbox.Unknown,
		"removing": sandbox.Unknown, "exited": sandbox.Gone, "dead": sandbox.Gone,
		"configured": sandbox.Gone, "initialized": sandbox.Gone, "stopping": sandbox.Unknown, "stopped": sandbox.Gone,
		"unknown": sandbox.Unknown, "": sandbox.Unknown, "Running": sandbox.Unknown, "hibernating": sandbox.Unknown,
	} {
		got, err := life(word)
		if got != want || (err != nil) != (want == sandbox.Unknown) {
			t.Errorf("%q: %v, %v, want %v", word, got, err, want)
		}
	}
}

// TestClasses holds answers of an engine to what is made of them.
func TestClasses(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
		text   string
	}{
		"not found": {404, `{"message":"No such container: x"}`, errNotFound, "No such container: x"},
		"conflict":  {409, `{"message":"taken"}`, errConflict, "taken"},
		"other":     {500, `{"message":"disk full"}`, nil, "disk full"},
		"no JSON":   {502, "bad gateway\n", nil, "bad gateway"},
		"nothing":   {503, "", nil, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			e := answering(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			})
			_, err := e.inspect(t.Context(), "x")
			for _, class := range []error{errNotFound, errConflict, errUnreachable} {
				if errors.Is(err, class) != errors.Is(test.want, class) {
					t.Errorf("%v is %v: %v", err, class, errors.Is(err, class))
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v does not say %q", err, test.text)
			}
		})
	}
}

// answering is an engine that greets and then does as it is told.
func answering(t *testing.T, serve http.HandlerFunc) *engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	e, err := newEngine(Endpoint{Host: "tcp://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestUnreachable(t *testing.T) {
	e, err := newEngine(Endpoint{Host: "unix://" + t.TempDir() + "/none"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.inspect(t.Context(), "x"); !errors.Is(err, errUnreachable) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody there: %v", err)
	}
	hung := answering(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	})
	if _, err := hung.inspect(t.Context(), "x"); !errors.Is(err, errUnreachable) {
		t.Errorf("hung up: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hung.inspect(ctx, "x"); !errors.Is(err, context.Canceled) || errors.Is(err, errUnreachable) {
		t.Errorf("given up: %v", err)
	}
}

func TestPickVersion(t *testing.T) {
	for theirs, want := range map[string]string{
		"1.41": "1.41", "1.44": "1.44", "1.56": "1.56", "1.99": "1.56", "1.40": "", "2.0": "", "": "", "x": "", "1.": "",
	} {
		got, _, err := pickVersion(theirs)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", theirs, got, err, want)
		}
	}
}

// TestNewerEngines speaks with engines that have left old versions of the API behind.
func TestNewerEngines(t *testing.T) {
	for name, test := range map[string]struct {
		newest, oldest, want string
	}{
		"Docker 29":         {"1.52", "1.44", "/v1.52/info"},
		"newer than moat":   {"1.60", "1.56", "/v1.56/info"},
		"too new for moat":  {"1.70", "1.60", ""},
		"as old as may be":  {"1.41", "1.12", "/v1.41/info"},
		"too old for moat":  {"1.40", "1.12", ""},
		"nobody knows what": {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var version string
				switch path := strings.Split(r.URL.Path, "/"); {
				case r.URL.Path == "/_ping":
					w.Header().Set("Api-Version", test.newest)
					return
				case r.URL.Path == "/version":
					fmt.Fprintf(w, `{"ApiVersion": %q, "MinAPIVersion": %q}`, test.newest, test.oldest)
					return
				default:
					version = strings.TrimPrefix(path[1], "v")
				}
				if version < test.oldest || version > test.newest { // all have two digits
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprintf(w, `{"message": "client version %s is too old or too new"}`, version)
					return
				}
				asked <- r.URL.Path
				fmt.Fprint(w, `{"OSType": "linux"}`)
			}))
			defer server.Close()
			e, err := newEngine(Endpoint{Host: "tcp://" + server.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			_, err = e.info(t.Context())
			if test.want == "" {
				if !errors.Is(err, errVersion) || !strings.Contains(err.Error(), "moat speaks 1.41 to 1.56") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-asked; got != test.want {
				t.Errorf("asked for %s, want %s", got, test.want)
			}
		})
	}
}

// TestRootlessPodman asks Podman what it tells only in its own API.
func TestRootlessPodman(t *testing.T) {
	for _, rootless := range []bool{true, false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/_ping":
				w.Header().Set("Api-Version", "1.41")
				w.Header().Set("Libpod-Api-Version", "4.3.1")
			case "/v4.3.1/libpod/info":
				fmt.Fprintf(w, `{"host": {"security": {"rootless": %v}}}`, rootless)
			default:
				fmt.Fprint(w, `{"OSType": "linux", "SecurityOptions": ["name=seccomp,profile=default"]}`)
			}
		}))
		defer server.Close()
		e, err := newEngine(Endpoint{Host: "tcp://" + server.Listener.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.close()
		about, err := e.info(t.Context())
		if err != nil || about.rootless() != rootless {
			t.Errorf("rootless %v: %+v, %v", rootless, about, err)
		}
	}
}

func TestEndpoints(t *testing.T) {
	home := t.TempDir()
	docker := filepath.Join(home, ".docker")
	write := func(name, text string) {
		path := filepath.Join(docker, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:])
	}
	write("config.json", `{"currentContext": "mine"}`)
	write("contexts/meta/"+id("mine")+"/meta.json", `{"Name":"mine","Endpoints":{"docker":{"Host":"unix:///mine.sock"}}}`)
	write("contexts/meta/"+id("tls")+"/meta.json", `{"Name":"tls","Endpoints":{"docker":{"Host":"tcp://127.0.0.1:2376"}}}`)
	write("contexts/tls/"+id("tls")+"/docker/ca.pem", "")
	write("contexts/meta/"+id("broken")+"/meta.json", `{"Name":`)
	for name, test := range map[string]struct {
		env  map[string]string
		want Endpoint
		fail bool
	}{
		"context in use": {nil, Endpoint{Host: "unix:///mine.sock", From: `context "mine"`}, false},
		"DOCKER_HOST":    {map[string]string{"DOCKER_HOST": "unix:///x"}, Endpoint{Host: "unix:///x", From: "DOCKER_HOST"}, false},
		"DOCKER_CONTEXT": {map[string]string{"DOCKER_CONTEXT": "tls"},
			Endpoint{Host: "tcp://127.0.0.1:2376", TLS: docker + "/contexts/tls/" + id("tls") + "/docker", From: `context "tls"`}, false},
		"TLS": {map[string]string{"DOCKER_HOST": "tcp://localhost:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/keys"},
			Endpoint{Host: "tcp://localhost:1", TLS: "/keys", From: "DOCKER_HOST"}, false},
		"no such context": {map[string]string{"DOCKER_CONTEXT": "none"}, Endpoint{}, true},
		"broken context":  {map[string]string{"DOCKER_CONTEXT": "broken"}, Endpoint{}, true},
		"default context": {map[string]string{"DOCKER_CONTEXT": "default", "HOME": "/none", "DOCKER_CONFIG": docker}, Endpoint{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FindEndpoint(t.Context(), func(v string) (string, bool) {
				if v == "HOME" && test.env["HOME"] == "" {
					return home, true
				}
				value, ok := test.env[v]
				return value, ok
			})
			if (err != nil) != test.fail {
				t.Fatalf("%v", err)
			}
			if test.want.Host == "" {
				return // which socket there is on this machine is another matter
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestEnginesElsewhere(t *testing.T) {
	for host, want := range map[string]struct{ known, elsewhere, open bool }{
		"unix:///var/run/docker.sock": {true, otherKernel, false}, "tcp://127.0.0.1:2375": {true, otherKernel, false},
		"tcp://[::1]:2375": {true, otherKernel, false}, "tcp://localhost:2375": {true, otherKernel, false},
		"tcp://192.0.2.1:2375": {true, true, true}, "tcp://engine.example:2376": {true, true, true},
		"unix:///home/me/.docker/desktop/docker.sock": {true, true, false}, "unix:///Users/me/.colima/default/docker.sock": {true, true, false},
		"ssh://me@host": {false, true, false}, "npipe:////./pipe/docker": {false, true, false},
	} {
		at := Endpoint{Host: host}
		if _, err := newEngine(at); errors.Is(err, errScheme) == want.known {
			t.Errorf("%s: %v", host, err)
		}
		if got := (&Runtime{}).byRelay(at); got != want.elsewhere {
			t.Errorf("%s: by relay: %v", host, got)
		}
		if want.known && at.open() != want.open {
			t.Errorf("%s: open: %v", host, at.open())
		}
	}
	forced := &Runtime{Env: func(name string) (string, bool) { return "relay", name == LineEnv }}
	if !forced.byRelay(Endpoint{Host: "unix:///var/run/docker.sock"}) {
		t.Error("a relay cannot be forced")
	}
}

// TestDiagnose holds reasons to what mends them.
func TestDiagnose(t *testing.T) {
	for name, test := range map[string]struct {
		cause       error
		reason, fix string
	}{
		"not there":   {fmt.Errorf("%w: %w", errUnreachable, fs.ErrNotExist), "nothing listens at /x (default)", "install Docker"},
		"not allowed": {fmt.Errorf("%w: %w", errUnreachable, fs.ErrPermission), "you may not use", "usermod -aG docker"},
		"elsewhere":   {errScheme, "does not know this way", "docker context use default"},
		"old":         {errVersion, "too old", "20.10"},
		"windows":     {info{OSType: "windows"}.usable(), "windows", "Linux containers"},
		"anything":    {errors.New("odd"), "odd", "docker context ls"},
	} {
		var u *sandbox.Unavailable
		err := (&Runtime{}).diagnose(Endpoint{Host: "unix:///x", From: "default"}, test.cause)
		if !errors.As(err, &u) || !strings.Contains(u.Reason, test.reason) || !strings.Contains(u.Fix, test.fix) {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

// TestRequest holds what an engine is asked for to what must never change by accident.
func TestRequest(t *testing.T) {
	spec := sandbox.Spec{
		Ref: sandbox.Ref{ID: "run-1", Dir: "/moat/runs/run-1/sandbox"}, Hostname: "h", Image: sandbox.Image{Digest: "sha256:ab", Dir: "/srv"},
		Workspace: "/link", Mounts: []sandbox.Mount{{Source: "/l", Target: "/data", ReadOnly: true}}, User: sandbox.User{Home: "/home/me"},
		Limits: sandbox.Limits{MemoryBytes: 1 << 20, CPUs: 1.5},
	}
	req := request(spec, box.Sources{Workspace: "/real", Mounts: []string{"/elsewhere"}}, "/bin/moat")
	h := req.HostConfig
	if h.NetworkMode != "none" || h.IpcMode != "private" || req.User != "0:0" || req.Image != "sha256:ab" || req.WorkingDir != "/srv" ||
		h.LogConfig.Type != "none" || h.PidsLimit != sandbox.DefaultPIDs || h.Memory != 1<<20 || h.MemorySwap != 1<<20 || h.NanoCpus != 1_500_000_000 {
		t.Errorf("%+v", req)
	}
	if d := cmp.Diff([]string{"no-new-privileges"}, h.SecurityOpt); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ALL"}, h.CapDrop); d != "" {
		t.Error(d)
	}
	for _, c := range h.CapAdd {
		if strings.HasPrefix(c, "SYS_") && c != "SYS_CHROOT" || strings.HasPrefix(c, "NET_") && c != "NET_ADMIN" {
			t.Errorf("capability %s", c)
		}
	}
	var mounts []string
	for _, m := range h.Mounts {
		mounts = append(mounts, fmt.Sprintf("%s %s %v %s", m.Source, m.Target, m.ReadOnly, m.BindOptions.Propagation))
	}
	want := []string{
		"/moat/runs/run-1/sandbox/boot /.moat/boot true rprivate", "/moat/runs/run-1/sandbox/home /home/me false rprivate",
		"/real /workspace false rprivate", "/elsewhere /data true rprivate", "/bin/moat /.moat/moat true rprivate",
	}
	if d := cmp.Diff(want, mounts); d != "" {
		t.Errorf("mounts (-want +got):\n%s", d)
	}
	relayed := relayedRequest(spec, box.Sources{Workspace: "/real", Mounts: []string{"/elsewhere"}}, "moat-guest-0")
	last := relayed.HostConfig.Mounts[len(relayed.HostConfig.Mounts)-1]
	if last.Type != "volume" || last.Source != "moat-guest-0" || !last.ReadOnly || len(relayed.HostConfig.Mounts) != len(want) {
		t.Errorf("with a volume: %+v", relayed.HostConfig.Mounts)
	}
	text, err := json.Marshal(req)
	if err != nil || strings.Contains(string(text), "null") || strings.Contains(string(text), "Port") {
		t.Errorf("%v, %s", err, text)
	}
}

func TestFollow(t *testing.T) {
	report := `{"status":"Pulling from x","id":"12"}
{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"a"}
{"status":"Downloading","progressDetail":{"current":20,"total":20},"id":"b"}
{"status":"Extracting","progressDetail":{"current":1,"total":10},"id":"a"}
{"status":"Download complete","progressDetail":{},"id":"a"}
`
	var done, total int64
	if err := follow(strings.NewReader(report), func(d, n int64) { done, total = d, n }); err != nil || done != 25 || total != 30 {
		t.Errorf("%d of %d, %v", done, total, err)
	}
	if err := follow(strings.NewReader(report+`{"error":"denied"}`), nil); err == nil || err.Error() != "denied" {
		t.Errorf("a pull that failed: %v", err)
	}
	if err := follow(strings.NewReader(`{"status":`), nil); err == nil {
		t.Error("a report that was cut off")
	}
}

// FuzzFollow reads what an engine, or what is in its place, may say.
func FuzzFollow(f *testing.F) {
	f.Add(`{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"a"}`)
	f.Add(`{"error":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		_ = follow(strings.NewReader(text), func(int64, int64) {})
	})
}
