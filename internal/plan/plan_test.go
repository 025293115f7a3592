package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"moat/internal/policy"
	"moat/internal/sandbox"
)

func full() Plan {
	return Plan{
		Name: "web", Workspace: "/home/me/my project", Runtime: "native", Image: "debian:12",
		Command: []string{"sh", "-c", "echo \x1b[31m$X", ""}, WorkDir: "/workspace", Interactive: true, TTY: true, Stdin: true,
		EnvNames: []string{"LANG", "TOKEN"}, Hostname: "web",
		User:   sandbox.User{UID: 1000, GID: 100, Name: "me", Home: "/home/me"},
		Mounts: []sandbox.Mount{{Source: "/data", Target: "/data", ReadOnly: true}, {Source: "/x", Target: "/y"}},
		Tools:  []sandbox.Tool{{Path: "/home/me/.nvm"}, {Path: "/home/me/.cargo", Mask: []string{"credentials.toml", "a b"}}},
		Limits: sandbox.Limits{MemoryBytes: 1 << 30, CPUs: 1.5, PIDs: 100},
		Grants: []string{"github"},
		Network: &Network{
			Policy: "strict", Allow: []string{"*.example.com", "a b"}, Rules: []policy.HostRules{{Host: "api.test", Rules: []string{"allow GET /x/**"}}},
			HostPorts: []int{5432}, Capture: "none", Foreign: true, Hosts: map[string]string{"api.test": "127.0.0.1:9443"},
		},
	}
}

func TestText(t *testing.T) {
	want := `name         web
runtime      native
image        debian:12
workspace    "/home/me/my project" at /workspace
command      sh -c "echo \x1b[31m$X" ""
directory    /workspace
terminal     yes, interactive
user         me (uid 1000, gid 100, home /home/me)
hostname     web
environment  LANG TOKEN
mount        /data at /data, read-only
mount        /x at /y
tool         /home/me/.nvm
tool         /home/me/.cargo without credentials.toml "a b"
network      strict
grants       github
foreign      other credentials reach the hosts of grants
allow        "*.example.com" "a b"
rules        api.test: "allow GET /x/**"
own machine  port 5432 as host.moat.internal
dialled      api.test at 127.0.0.1:9443
limits       100 processes, 1073741824 bytes of memory, 1.5 CPUs
`
	if diff := cmp.Diff(want, full().Text()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTextOfTheSmallestPlan(t *testing.T) {
	got := Plan{Runtime: "native", Stdin: true}.Text()
	for _, want := range []string{"(made up at the start)", "(the host's system directories)", "(none)", "no, stdin is forwarded", "4096 processes"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

func TestJSON(t *testing.T) {
	data, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	empty, err := json.Marshal(Plan{})
	if err != nil || strings.Contains(string(empty), "null") {
		t.Errorf("a list that is empty is not []: %s, %v", empty, err)
	}
}
