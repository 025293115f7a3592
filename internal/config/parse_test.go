package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/policy"
)

func TestParseEveryKey(t *testing.T) {
	const text = `# comment
name: demo-1
version: 1.10
agent: claude
command: [npm, run, dev, 5, true, no, ~/x, ""]
interactive: true
env:
  PORT: 8080
  RATE: 1.50
  DEBUG: true
  ANSWER: no
  DATE: 2026-01-02
  OCTAL: 0755
  EMPTY: ""
  TEXT: |
    two
    lines
mounts:
  - ../cache:/cache:ro
  - ~/data:/data:rw
  - C:\src:/src
  - {source: "odd:name", target: "/odd:name", readonly: true}
tools: [~/.local/./share/mise/, /opt/tool]
runtime: native
image: localhost:5000/a/b:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
workdir: /workspace/app
limits: {memory: 1.5g, cpus: 1.5, pids: 500}
`
	got, err := Parse("agent.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	at := func(line, column int) Position { return Position{File: "agent.yaml", Line: line, Column: column} }
	want := &Agent{
		File: "agent.yaml", Name: "demo-1", Version: "1.10", Agent: "claude",
		Command:     []string{"npm", "run", "dev", "5", "true", "no", "~/x", ""},
		Interactive: true,
		Env: []Var{
			{"PORT", "8080"}, {"RATE", "1.50"}, {"DEBUG", "true"}, {"ANSWER", "no"},
			{"DATE", "2026-01-02"}, {"OCTAL", "0755"}, {"EMPTY", ""}, {"TEXT", "two\nlines\n"},
		},
		Mounts: []Mount{
			{"../cache", "/cache", true}, {"~/data", "/data", false}, {`C:\src`, "/src", false},
			{"odd:name", "/odd:name", true},
		},
		Tools:   Tools{Paths: []string{"~/.local/share/mise", "/opt/tool"}},
		Runtime: RuntimeNative,
		Image:   "localhost:5000/a/b:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		WorkDir: "/workspace/app",
		Limits:  Limits{Memory: 3 << 29, MilliCPUs: 1500, PIDs: 500},
	}
	positions := got.Positions
	got.Positions = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, want := range map[string]Position{
		"name": at(2, 7), "command": at(5, 10), "command[1]": at(5, 16), "env.RATE": at(9, 9),
		"mounts[1]": at(20, 5), "mounts[3].target": at(22, 34), "limits.cpus": at(27, 30), "absent": {},
	} {
		if positions[path] != want {
			t.Errorf("position of %s is %v, want %v", path, positions[path], want)
		}
	}
}

func TestParseSmallFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "{}", "~", "\ufeff# mark", "name: a\r\nversion: b\r\n"} {
		if _, err := Parse("agent.yaml", []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	agent, err := Parse("agent.yaml", []byte("tools: none\n"))
	if err != nil || !agent.Tools.None {
		t.Errorf("tools: none gave %+v, %v", agent, err)
	}
}

func TestParseNetwork(t *testing.T) {
	const text = `network:
  policy: strict
  allow: [example.com, "*.example.com:8443"]
  deny: []
  rules:
    b.example: [deny DELETE /**]
    a.example: ["allow GET /x", "allow PUT /y"]
  host: [5432, 8080]
  limits: {bytes: 1g, requests: 100}
  dns: [9.9.9.9, "[::1]:5353", 10.0.0.1:54]
  capture: bodies
  foreign: allow
grants: [github, "ssh:example.com"]
`
	agent, err := Parse("agent.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Network{
		Policy: policy.Strict, Allow: []string{"example.com", "*.example.com:8443"}, Deny: []string{},
		Rules: []policy.HostRules{{Host: "b.example", Rules: []string{"deny DELETE /**"}}, {Host: "a.example", Rules: []string{"allow GET /x", "allow PUT /y"}}},
		Host:  []int{5432, 8080}, Limits: policy.Limits{Bytes: 1 << 30, Requests: 100}, Capture: CaptureBodies, Foreign: ForeignAllow,
		DNS: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:53"), netip.MustParseAddrPort("[::1]:5353"), netip.MustParseAddrPort("10.0.0.1:54")},
	}
	if diff := cmp.Diff(want, agent.Network, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"github", "ssh:example.com"}, agent.Grants); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at := agent.Positions["network.rules.a.example[1]"]; at.Line != 7 || at.Column != 33 {
		t.Errorf("a rule is at %v", at)
	}
	grant := []policy.GrantHosts{{Name: "github", Hosts: []string{"github.com"}}}
	compiled, problems := policy.Compile(agent.Network.PolicyConfig(policy.Permissive, grant))
	if compiled == nil || compiled.Config().Mode != policy.Strict || len(compiled.Config().Grants) != 1 {
		t.Errorf("policy: %+v, %v", compiled, problems)
	}
	var silent Network
	if c := silent.PolicyConfig(policy.Strict, nil); c.Mode != policy.Strict {
		t.Errorf("a file that does not choose a policy gets %q", c.Mode)
	}
}

func TestParseEgress(t *testing.T) {
	const text = `network: {policy: strict}
egress:
  hosts: {"api.example.test:443": "127.0.0.1:9443", api.example.test: "[::1]"}
  ca_files: [/etc/ca.pem, ~/ca.pem]
  upstream_proxy: http://me:secret@proxy.test:3128
`
	global, err := ParseGlobal("config.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"api.example.test:443": "127.0.0.1:9443", "api.example.test": "[::1]"}
	if diff := cmp.Diff(want, global.Egress.Hosts); diff != "" || global.Policy != policy.Strict {
		t.Errorf("policy %q, hosts (-want +got):\n%s", global.Policy, diff)
	}
	if len(global.Egress.CAFiles) != 2 || global.Egress.UpstreamProxy.Host != "proxy.test:3128" || global.Egress.UpstreamProxy.User.Username() != "me" {
		t.Errorf("egress: %+v", global.Egress)
	}
}

// A password must not be shown because the rest of its line is wrong.
func TestProxyPasswordIsNotShown(t *testing.T) {
	for _, bad := range []string{"http://me:hunter2@proxy", "https://me:hunter2@proxy:1", "http://me:hunter2@proxy:1/x", "http://me:hunter2@[:1", "me:hunter2@proxy:1"} {
		_, err := ParseGlobal("config.yaml", []byte("egress: {upstream_proxy: \""+bad+"\"}\n"))
		report, ok := errors.AsType[*Error](err)
		if !ok || strings.Contains(report.Detail(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestParseGlobal(t *testing.T) {
	got, err := ParseGlobal("config.yaml", []byte("detach: {keys: 'ctrl-p,q', stop_window: 500ms}\nruntime: docker\nlimits: {memory: 2g}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got.Positions = nil
	want := &Global{
		File: "config.yaml", Runtime: "docker", Limits: Limits{Memory: 2 << 30},
		Detach: Detach{Keys: Keys{0x10, 'q'}, StopWindow: 500 * time.Millisecond},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	got, err = ParseGlobal("config.yaml", []byte("detach: {keys: ctrl-x}\n"))
	if err != nil || got.Detach.StopWindow != DefaultGlobal().Detach.StopWindow {
		t.Errorf("a key that is not given has no default: %+v, %v", got, err)
	}
}

// Every key that is planned must be refused, wherever it is not known yet, and
// no key may be both known and planned.
func TestLaterKeysAreRefused(t *testing.T) {
	check := func(file, key string, known []string, err error) {
		t.Helper()
		report, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(report.Problems[0].Message, "does not support it yet") {
			t.Errorf("%s: key %s gives %v", file, key, err)
		}
		for _, k := range known {
			if k == key {
				t.Errorf("%s: key %s is both known and planned", file, key)
			}
		}
	}
	for _, key := range laterKeys(AgentFile) {
		_, err := Parse(AgentFile, []byte(key+": {}\n"))
		check(AgentFile, key, agentSchema().keys(), err)
	}
	for _, key := range laterKeys(GlobalFile) {
		_, err := ParseGlobal(GlobalFile, []byte(key+": {}\n"))
		check(GlobalFile, key, globalSchema().keys(), err)
	}
}

// The worst texts of the largest size must give a short report; a text that
// expands or nests must not cost more than one that does not.
func TestParseIsBounded(t *testing.T) {
	fill := func(head, part string) string {
		return head + strings.Repeat(part, (MaxFileBytes-len(head)-len("]}}"))/len(part))
	}
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 200; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9))
	}
	var tools strings.Builder
	tools.WriteString("tools: [")
	for i := 0; tools.Len() < MaxFileBytes-20; i++ {
		fmt.Fprintf(&tools, "/%d, ", i)
	}
	tools.WriteString("relative]")
	for name, text := range map[string]string{
		"many tools":     tools.String(),
		"languages":      fill("runtime: {", "node: 20, ") + "}",
		"bad hosts":      fill("network: {allow: [", "a*,") + "]}",
		"bad rules":      fill("network: {rules: {a: [", "x,") + "]}}",
		"rule hosts":     fill("network: {rules: {", "a: [],") + "}}",
		"bad grants":     fill("grants: [", "A,") + "]",
		"too large":      fill("", "a: 1\n") + strings.Repeat("\n", 10),
		"billion laughs": laughs.String(),
		"unknown keys":   fill("", "a: 1\n"),
		"bad variables":  fill("env:\n", " 1: b\n"),
		"nested lists":   fill("", "["),
		"nested blocks":  fill("", "- "),
		"flow pairs":     fill("[", "a:,"),
		"control bytes":  fill("", "\x01\n"),
		"one long key":   fill("", "k") + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("agent.yaml", []byte(text))
			report, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("accepted: %v", err)
			}
			if n := len(report.Problems); n > maxProblems+1 {
				t.Errorf("%d problems", n)
			}
			if n := len(report.Detail()); n > 64<<10 {
				t.Errorf("report of %d bytes", n)
			}
		})
	}
}

// A long text must be refused before it reaches execve.
func TestLongestArgument(t *testing.T) {
	for _, text := range []string{"command: [%s]", "env: {A: %s}"} {
		fits := fmt.Sprintf(text, strings.Repeat("x", maxArg-len("A=")))
		if _, err := Parse("agent.yaml", []byte(fits)); err != nil {
			t.Errorf("%.10s: refused what fits: %v", text, err)
		}
		if _, err := Parse("agent.yaml", []byte(fmt.Sprintf(text, strings.Repeat("x", maxArg+1)))); err == nil {
			t.Errorf("%.10s: accepted what is too long", text)
		}
	}
}

func TestErrorQuotesItsFile(t *testing.T) {
	_, err := Parse("a\x1b[31m\nb/agent.yaml", []byte("nope: 1\n"))
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("report is not safe for a terminal: %q", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("name: a\ncommand: [a, b]\nenv: {A: 1}\nmounts: [a:/b:ro]\ntools: none\nlimits: {memory: 2g}\n"))
	f.Add([]byte("a: &a [x]\nb: [*a, *a]\n<<: *a\n"))
	f.Add([]byte("env:\n\tA: \"\\ud800\\0\"\n"))
	f.Add([]byte("mounts:\n- {source: a, target: /b}\n- a:/b\nruntime: {node: 20}\n"))
	f.Add([]byte("network: {policy: strict, allow: ['*.a:1'], rules: {a: [allow GET /**]}, host: [1], limits: {bytes: 1}, dns: [::1], capture: none}\ngrants: [a:b]\n"))
	f.Add([]byte("network: {policy: strict}\negress: {hosts: {a:1: '[::1]:2'}, ca_files: [/a], upstream_proxy: http://a:1}\n"))
	f.Add([]byte("? [a]\n: !!binary b\n---\n...\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, globalErr := ParseGlobal("config.yaml", data)
		checkReport(t, data, globalErr)
		agent, err := Parse("agent.yaml", data)
		checkReport(t, data, err)
		if err != nil {
			return
		}
		if agent.Name != "" && CheckName(agent.Name) != nil {
			t.Errorf("accepted name %q", agent.Name)
		}
		for _, v := range agent.Env {
			if got, err := ParseEnv(v.Name+"="+v.Value, nil); err != nil || got != v {
				t.Errorf("a flag does not accept variable %q: %v", v, err)
			}
		}
		if p, problems := policy.Compile(agent.Network.PolicyConfig("", nil)); p == nil {
			t.Errorf("accepted a network that policy refuses: %v", problems)
		}
		for _, m := range agent.Mounts {
			if err := m.check(); err != nil {
				t.Errorf("accepted mount %+v: %v", m, err)
			}
		}
	})
}

// checkReport holds every report to what Error and Problem promise.
func checkReport(t *testing.T, data []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	report, ok := errors.AsType[*Error](err)
	if !ok || len(report.Problems) == 0 || len(report.Problems) > maxProblems+1 {
		t.Fatalf("not a report: %v", err)
	}
	lines := strings.Count(string(data), "\n") + 1
	for _, p := range report.Problems {
		if p.Line < 0 || p.Line > lines || (p.Line == 0) != (p.Column == 0) {
			t.Errorf("place %d:%d is not in the file: %s", p.Line, p.Column, p.Message)
		}
		if strings.ContainsFunc(p.Message+p.Hint, unprintable) {
			t.Errorf("message is not safe for a terminal: %q; %q", p.Message, p.Hint)
		}
	}
	if strings.ContainsFunc(strings.ReplaceAll(report.Detail(), "\n", ""), unprintable) {
		t.Errorf("excerpt is not safe for a terminal: %q", report.Detail())
	}
}
