package main

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// lab is moat with a network to reach: servers on this machine that answer to names of the world.
type lab struct {
	t       *testing.T
	bin     string
	project string
	env     []string
	auth    atomic.Value // the last Authorization that a server got
	sites   sync.Map     // handlers of hosts, by name; others get the same answer always
}

// serve answers for a host.
func (l *lab) serve(host string, h http.Handler) { l.sites.Store(host, h) }

// newLab starts the servers and writes the configuration that leads there. Agent is the text of agent.yaml; env is added to
// the environment of moat.
func newLab(t *testing.T, agent string, env ...string) *lab {
	t.Helper()
	bin, _ := prepare(t)
	dir := t.TempDir()
	l := &lab{t: t, bin: filepath.Join(bin, "moat"), project: filepath.Join(dir, "project")}
	home := filepath.Join(dir, "moat")
	l.env = []string{"HOME=" + filepath.Join(dir, "home"), "MOAT_HOME=" + home, "PATH=" + bin + ":/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}
	l.env = append(l.env, env...)

	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := l.sites.Load(r.Host); ok {
			h.(http.Handler).ServeHTTP(w, r)
			return
		}
		if r.URL.Path == "/rejected" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		if auth := r.Header.Get("Authorization"); auth != "" {
			l.auth.Store(auth)
			fmt.Fprintf(w, "you sent %s\n", auth)
		}
		fmt.Fprintf(w, "%s %s %s from %s\n", r.Proto, r.Method, r.URL.Path, r.Host)
	})
	secure := httptest.NewUnstartedServer(answer)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(answer)
	t.Cleanup(plain.Close)

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	pin := func(s *httptest.Server) string { return s.Listener.Addr().(*net.TCPAddr).String() }
	global := "egress:\n  ca_files: [" + filepath.Join(home, "upstream.pem") + "]\n  hosts:\n    \"example.com:80\": " + strconv.Quote(pin(plain)) + "\n"
	for _, name := range []string{"", "ruled.", "cred.", "npm.", "pypi.", "goproxy.", "crates."} {
		global += fmt.Sprintf("    %q: %q\n", name+"example.com:443", pin(secure))
	}
	for name, data := range map[string]string{
		filepath.Join(home, "config.yaml"):           global,
		filepath.Join(home, "upstream.pem"):          string(ca),
		filepath.Join(home, "providers", "lab.yaml"): labProvider,
		filepath.Join(l.project, "agent.yaml"):       agent,
		filepath.Join(dir, "home", ".dont-mind"):     "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { l.moat("destroy", "-f", "lab") })
	return l
}

// moat runs a moat command in the project and returns what it printed, and its exit code.
func (l *lab) moat(args ...string) (string, int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.bin, args...)
	cmd.Dir, cmd.Env = l.project, l.env
	var errout strings.Builder
	cmd.Stderr = &errout
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		l.t.Errorf("moat %q: %v", args, err)
		return "", -1
	}
	if errout.Len() > 0 {
		l.t.Logf("moat %q: %s", args, errout.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// inside runs a shell script in the lab's run.
func (l *lab) inside(script string) (string, int) {
	return l.moat("exec", "lab", "--", "sh", "-c", script)
}

const strictAgent = `command: [sleep, "1000"]
network:
  policy: strict
  allow: [example.com, ruled.example.com]
  rules:
    ruled.example.com: ["allow GET /public/**"]
`

const labProvider = `name: lab
hosts: [cred.example.com]
inject: {header: Authorization, format: "Bearer {token}"}
env: {LAB_TOKEN: placeholder}
`

// TestGrant uses a credential that the sandbox never sees.
func TestGrant(t *testing.T) { newLab(t, grantAgent).grant(t) }

const grantAgent = "command: [sleep, \"1000\"]\n"

func (l *lab) grant(t *testing.T) {
	t.Helper()
	const token = "real-token-5f1c7be20b4c4d"
	if out, code := l.moat("run", "-d", "-n", "lab", "--grant", "lab"); code != 125 {
		t.Fatalf("without the credential: exit code %d, %s", code, out)
	}
	l.store(t, token+"\n", "lab", "--token-stdin")
	if out, code := l.moat("run", "-d", "-n", "lab", "--grant", "lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	for range 2 {
		out, _ := l.inside(`echo "$LAB_TOKEN"; curl -sS -m 20 https://cred.example.com/x; curl -sS -m 20 -H "Authorization: Bearer $LAB_TOKEN" https://cred.example.com/y`)
		if got := l.auth.Swap("nothing"); got != "Bearer "+token {
			t.Errorf("the server got %q", got)
		}
		if strings.Contains(out, token) || strings.Count(out, "you sent ") != 2 {
			t.Errorf("the sandbox got %q", out)
		}
		l.killSupervisor(t)
	}
	l.rejected(t)
	out, _ := l.inside(`curl -s -m 20 -o /dev/null -w "%{http_code}" -H "X-Token: $LAB_TOKEN" http://example.com/`)
	if out == "200" {
		t.Error("the placeholder went to another host")
	}
	records, _ := l.moat("trace", "--network", "--json", "lab")
	if !strings.Contains(records, `"grant": "lab"`) || strings.Contains(records, token) {
		t.Errorf("records: %s", records)
	}
	if out, _ := l.moat("grant", "list", "--json"); !strings.Contains(out, `"last_used_at": "20`) {
		t.Errorf("nobody has used it: %s", out)
	}
	l.searchFor(t, token)
}

// rejected looks at what an attached client is told of a credential that a server does not accept: once.
func (l *lab) rejected(t *testing.T) {
	t.Helper()
	attach := exec.Command(l.bin, "attach", "lab")
	attach.Dir, attach.Env = l.project, l.env
	said, err := attach.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	for attached := false; !attached; {
		out, _ := l.moat("list", "--json")
		attached = strings.Contains(out, `"clients": 1`)
	}
	for range 2 {
		l.inside(`curl -s -m 20 -o /dev/null https://cred.example.com/rejected`)
	}
	limit := time.AfterFunc(patience, func() { _ = attach.Process.Kill() })
	defer limit.Stop()
	hints := 0
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "answered 401") {
			continue
		}
		if hints++; !strings.Contains(lines.Text(), "moat grant lab") {
			t.Errorf("said %q", lines.Text())
		}
		_ = attach.Process.Signal(syscall.SIGTERM) // detach: what else there is comes before the end
	}
	_ = attach.Wait()
	if hints != 1 {
		t.Errorf("an attached client was told %d times", hints)
	}
	if out, _ := l.moat("trace", "lab"); strings.Count(out, "lab was rejected for cred.example.com with status 401") != 2 {
		t.Errorf("the record does not tell of two answers:\n%s", out)
	}
}

// TestValidate stores what the provider says is good, and nothing else.
func TestValidate(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\n")
	status := 0
	l.world(t, map[string]http.Handler{"cred.example.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status = http.StatusUnauthorized; r.Header.Get("Authorization") == "Bearer good" && r.URL.Path == "/user" {
			status = http.StatusNoContent
		}
		w.WriteHeader(status)
	})})
	text := labProvider + "validate: {url: 'https://cred.example.com/user'}\n"
	if err := os.WriteFile(filepath.Join(l.home(), "providers", "lab.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(token string, args ...string) (string, int) {
		c := exec.Command(l.bin, append([]string{"grant", "lab", "--token-stdin"}, args...)...)
		c.Env, c.Stdin = l.env, strings.NewReader(token)
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := try("bad"); code != 1 || !strings.Contains(out, "cred.example.com answered 401") || !strings.Contains(out, "--no-validate") || status != 401 {
		t.Errorf("bad: %d, %s", code, out)
	}
	if out, code := l.moat("grant", "show", "lab"); code != 1 {
		t.Errorf("it was stored: %s", out)
	}
	if out, code := try("bad", "--no-validate"); code != 0 {
		t.Errorf("unchecked: %d, %s", code, out)
	}
	if out, code := try("good"); code != 0 || status != 204 {
		t.Errorf("good: %d, %s", code, out)
	}
}

// searchFor looks for a secret in everything that moat keeps.
func (l *lab) searchFor(t *testing.T, secret string) {
	t.Helper()
	home := filepath.Join(filepath.Dir(l.project), "moat")
	err := filepath.WalkDir(home, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) && d.Name() == "work" {
			return fs.SkipDir // the kernel's own scratch folder of an overlay, mode 0; empty, as the test as root sees
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret) {
			t.Errorf("the token is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNetwork reaches out of a strict run in the ways that programs do, before and after its supervisor was killed.
func TestNetwork(t *testing.T) { newLab(t, strictAgent).network(t) }

func (l *lab) network(t *testing.T) {
	t.Helper()
	if out, code := l.moat("run", "-d", "--approve", "-n", "lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	l.reachOut(t)
	l.killSupervisor(t)
	l.reachOut(t) // programs that trusted the first supervisor's authority trust its successor's
	l.widen(t)
	l.records(t)
}

func (l *lab) reachOut(t *testing.T) {
	t.Helper()
	const direct = `env -u http_proxy -u https_proxy -u all_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY `
	for _, c := range []struct{ script, want string }{
		{`curl -sS -m 20 https://example.com/a`, "HTTP/2.0 GET /a from example.com\n"},
		{direct + `curl -sS -m 20 https://example.com/a`, "HTTP/2.0 GET /a from example.com\n"},
		{direct + `curl -sS -m 20 --http1.1 http://example.com/b`, "HTTP/1.1 GET /b from example.com\n"},
		{`curl -sS -m 20 http://example.com/b`, "HTTP/1.1 GET /b from example.com\n"},
		{direct + `curl -sS -m 20 https://ruled.example.com/public/x`, "HTTP/2.0 GET /public/x from ruled.example.com\n"},
		{direct + `curl -s -m 20 -o /dev/null -w "%{http_code}" https://ruled.example.com/private`, "403"},
		{direct + `curl -s -m 20 -o /dev/null -w "%{http_code}" -X POST https://ruled.example.com/public/x`, "403"},
		{direct + `curl -s -m 20 -o /dev/null -w "%{http_code}" http://denied.example/`, "407"},
		{`curl -s -m 20 -o /dev/null -w "%{http_code}" http://denied.example/`, "407"},
		{direct + `curl -s -m 20 http://169.254.169.254/latest | grep -c "blocked by network policy"`, "1\n"},
		{direct + `curl -s -m 20 http://127.0.0.1:1/ ; echo $?`, "7\n"},
	} {
		got, code := l.inside(c.script)
		if got != c.want {
			t.Errorf("%s: exit code %d, %q, want %q", strings.TrimPrefix(c.script, direct), code, got, c.want)
		}
	}
}

// killSupervisor kills the run's supervisor; its guard starts another one.
func (l *lab) killSupervisor(t *testing.T) {
	t.Helper()
	l.killSupervisorOf(t, "lab")
}

// killSupervisorOf kills the supervisor of a run.
func (l *lab) killSupervisorOf(t *testing.T, name string) {
	t.Helper()
	out, _ := l.moat("list", "--json")
	var runs []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(out), &runs); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	at := slices.IndexFunc(runs, func(r struct{ ID, Name string }) bool { return r.Name == name })
	if at < 0 {
		t.Fatalf("there is no run %s: %s", name, out)
	}
	pids, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pids {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), "supervise\x00"+runs[at].ID) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("there is no supervisor")
}

// widen allows a further host while the run lives.
func (l *lab) widen(t *testing.T) {
	t.Helper()
	const ask = `curl -s -m 20 -o /dev/null -w "%{http_code}" http://later.example/`
	if got, _ := l.inside(ask); got != "407" {
		t.Errorf("before it is allowed: %q", got)
	}
	if _, code := l.moat("policy", "allow", "lab", "later.example"); code != 0 {
		t.Errorf("policy allow: exit code %d", code)
	}
	if got, _ := l.inside(ask); got == "407" { // there is no such host, which is another answer
		t.Errorf("after it was allowed: %q", got)
	}
	if _, code := l.moat("policy", "allow", "--save", "lab", "saved.example", "*.saved.example"); code != 0 {
		t.Errorf("policy allow --save: exit code %d", code)
	}
	text, err := os.ReadFile(filepath.Join(l.project, "agent.yaml"))
	if want := strings.Replace(strictAgent, "ruled.example.com]", `ruled.example.com, saved.example, "*.saved.example"]`, 1); err != nil || string(text) != want {
		t.Errorf("agent.yaml is now %q", text)
	}
	if out, code := l.moat("run", "-d", "--name", "later", "--", "true"); code != 0 { // nobody is asked about it again
		t.Errorf("a later run: exit code %d, %s", code, out)
	}
	l.moat("wait", "later")
	if _, code := l.moat("policy", "allow", "lab", "a*.example"); code != 2 {
		t.Errorf("a pattern that is none: exit code %d, want 2", code)
	}
}

// records looks for what was done in the record of the network.
func (l *lab) records(t *testing.T) {
	t.Helper()
	out, code := l.moat("trace", "--network", "--json", "lab")
	if code != 0 {
		t.Fatalf("trace: exit code %d", code)
	}
	var records []struct {
		Kind, Host, URL, Decision, Rule, Method string
		Status                                  *int
	}
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range records {
		status := 0
		if r.Status != nil {
			status = *r.Status
		}
		seen[fmt.Sprint(r.Kind, " ", r.Method, " ", r.URL, " ", r.Decision, " ", status)] = true
	}
	for _, want := range []string{
		"http GET https://ruled.example.com/public/x allow 200",
		"http GET https://ruled.example.com/private deny 403",
		"http GET http://example.com/b allow 200",
		"http GET http://denied.example/ deny 407",
	} {
		if !seen[want] {
			t.Errorf("%q is not on record; there are %v", want, seen)
		}
	}
}
