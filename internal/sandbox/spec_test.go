package sandbox_test

import (
	"errors"
	"testing"

	"moat/internal/sandbox"
)

func good() sandbox.Spec {
	return sandbox.Spec{
		Ref:       sandbox.Ref{ID: "run-0123456789ab", Dir: "/moat/runs/run-0123456789ab/sandbox"},
		Hostname:  "moat",
		Workspace: "/home/alice/project",
		Mounts:    []sandbox.Mount{{Source: "/srv/data", Target: "/data", ReadOnly: true}},
		Tools:     []sandbox.Tool{{Path: "/home/alice/.cargo", Mask: []string{"/home/alice/.cargo/credentials.toml"}}},
		User:      sandbox.User{UID: 1000, GID: 1000, Name: "alice", Home: "/home/agent"},
		Secret:    make([]byte, 32),
	}
}

func TestSpecCheck(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Fatalf("a good specification: %v", err)
	}
	bad := map[string]func(*sandbox.Spec){
		"no id":                 func(s *sandbox.Spec) { s.ID = "" },
		"id with a slash":       func(s *sandbox.Spec) { s.ID = "../x" },
		"relative folder":       func(s *sandbox.Spec) { s.Dir = "runs/x" },
		"no secret":             func(s *sandbox.Spec) { s.Secret = nil },
		"no host name":          func(s *sandbox.Spec) { s.Hostname = "" },
		"host name of 65 bytes": func(s *sandbox.Spec) { s.Hostname = string(make([]byte, 65)) },
		"negative uid":          func(s *sandbox.Spec) { s.User.UID = -1 },
		"home is the root":      func(s *sandbox.Spec) { s.User.Home = "/" },
		"home in proc":          func(s *sandbox.Spec) { s.User.Home = "/proc/home" },
		"workspace not clean":   func(s *sandbox.Spec) { s.Workspace = "/home/alice/../bob" },
		"mount over usr":        func(s *sandbox.Spec) { s.Mounts[0].Target = "/usr" },
		"mount in etc":          func(s *sandbox.Spec) { s.Mounts[0].Target = "/etc/x" },
		"mount over workspace":  func(s *sandbox.Spec) { s.Mounts[0].Target = "/workspace" },
		"mount source relative": func(s *sandbox.Spec) { s.Mounts[0].Source = "data" },
		"mask outside the tool": func(s *sandbox.Spec) { s.Tools[0].Mask = []string{"/home/alice/.netrc"} },
		"negative memory":       func(s *sandbox.Spec) { s.Limits.MemoryBytes = -1 },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			s := good()
			spoil(&s)
			if err := s.Check(); !errors.Is(err, sandbox.ErrSpec) {
				t.Errorf("Check() = %v, want an ErrSpec", err)
			}
		})
	}
}
