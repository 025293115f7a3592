package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/approval"
	"moat/internal/config"
	"moat/internal/policy"
)

// everything asks for all that can be asked for.
const everything = `
command: [make]
env: {HTTP_PROXY: x, PLAIN: y}
mounts: [/etc:/x, ./inside:/y]
tools: [/opt/x]
runtime: docker
image: debian:12
limits: {memory: 1g, cpus: 2, pids: 100}
grants: [github]
audit: {input: true}
network:
  policy: strict
  allow: [a.example]
  deny: [b.example]
  rules: {c.example: [allow GET /**]}
  host: [80]
  limits: {bytes: 1g, requests: 5}
  dns: [9.9.9.9]
  capture: bodies
  foreign: allow
`

func asksOf(t *testing.T, text string, global *config.Global) []approval.Ask {
	t.Helper()
	agent, err := config.Parse("agent.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return asker{workspace: t.TempDir(), global: global, runtime: func() string { return config.RuntimeNative }}.asks(agent)
}

// TestApprovalPage holds docs/approval.md to what is asked about.
func TestApprovalPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "approval.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| in `agent.yaml` | widens |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	listed := map[string]bool{}
	for row := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		for _, key := range strings.Split(first, ", ") {
			listed[strings.Trim(key, "`")] = true
		}
	}
	asked := map[string]bool{}
	for _, a := range asksOf(t, everything, config.DefaultGlobal()) {
		asked[a.Topic] = true
		if !listed[a.Topic] {
			t.Errorf("the page does not list %s", a.Topic)
		}
	}
	for key := range listed {
		if !asked[key] {
			t.Errorf("the page lists %q, which is never asked about", key)
		}
	}
}

// TestWhatWidens reads two files, one after the other.
func TestWhatWidens(t *testing.T) {
	strict := config.DefaultGlobal()
	strict.Policy, strict.Limits.Memory = policy.Strict, 1<<30
	for _, test := range []struct {
		name, old, now string
		global         *config.Global
		want           string
	}{
		{"explicit default", "", "network: {policy: permissive}", config.DefaultGlobal(), ""},
		{"permissive against the person's strict", "", "network: {policy: permissive}", strict, "- network.policy: strict"},
		{"allow against the person's strict", "", "network: {allow: [a.example]}", strict, "+ network.allow: a.example"},
		{"allow under permissive", "", "network: {allow: [a.example]}", config.DefaultGlobal(), ""},
		{"a list that is strict at once", "", "network: {policy: strict, allow: [a.example]}", config.DefaultGlobal(), ""},
		{"more memory than the person's", "", "limits: {memory: 2g}", strict, "- limits.memory: 1.0G|+ limits.memory: 2.0G"},
		{"less memory", "", "limits: {memory: 512m}", strict, ""},
		{"default runtime", "", "runtime: native", config.DefaultGlobal(), ""},
		{"other runtime", "", "runtime: docker", config.DefaultGlobal(), "+ runtime: docker"},
		{"proxy in small letters", "", "env: {no_proxy: '*'}", config.DefaultGlobal(), "+ env: no_proxy=*"},
		{"rules for one more host", "network: {rules: {'*.a.example': [allow GET /**]}}", "network: {rules: {'*.a.example': [allow GET /**], b.a.example: [allow * /**]}}",
			config.DefaultGlobal(), "- network.rules: *.a.example: [allow GET /**]|+ network.rules: *.a.example: [allow GET /**], b.a.example: [allow * /**]"},
		{"first rules", "", "network: {rules: {a.example: [allow GET /**]}}", config.DefaultGlobal(), ""},
		{"rules in another order of hosts", "network: {rules: {a.example: [deny * /x], b.example: [deny * /y]}}", "network: {rules: {b.example: [deny * /y], a.example: [deny * /x]}}",
			config.DefaultGlobal(), ""},
		{"all to nothing", everything, "", config.DefaultGlobal(), "- audit.input: true|- limits.cpus: 2|- limits.memory: 1.0G|- limits.pids: 100|- network.deny: b.example|" +
			"- network.limits.bytes: 1.0G|- network.limits.requests: 5|- network.policy: strict|- network.rules: c.example: [allow GET /**]"},
	} {
		var got []string
		for _, line := range approval.Widens(asksOf(t, test.old, test.global), asksOf(t, test.now, test.global)) {
			got = append(got, line.String())
		}
		if s := strings.Join(got, "|"); s != test.want {
			t.Errorf("%s: %q, want %q", test.name, s, test.want)
		}
	}
}

// TestDifferenceIsShort: a grant cannot be hidden behind ten thousand hosts.
func TestDifferenceIsShort(t *testing.T) {
	var text strings.Builder
	text.WriteString("env: {HTTP_PROXY: '" + strings.Repeat("x", 100_000) + "'}\ngrants: [github]\nnetwork: {host: [5432], allow: [")
	for text.Len() < config.MaxFileBytes-20 {
		fmt.Fprintf(&text, "h%d,", text.Len())
	}
	text.WriteString("x]}")
	strict := config.DefaultGlobal()
	strict.Policy = policy.Strict
	w := wishes{widens: approval.Widens(asksOf(t, "", strict), asksOf(t, text.String(), strict))}
	got := w.difference()
	if n := strings.Count(got, "\n"); n > 20 || len(got) > 2000 {
		t.Errorf("%d lines, %d bytes", n, len(got))
	}
	for _, want := range []string{"+ grants: github\n", "+ network.host: 5432\n", " more in network.allow"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in it:\n%s", want, got)
		}
	}
}
