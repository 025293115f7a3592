package run

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/plan"
	"moat/internal/sandbox"
)

// plant writes a run as it is on disk, without the time that fsync takes.
func plant(t testing.TB, h *Home, rec Record) Record {
	t.Helper()
	if rec.ID == "" {
		rec.ID = NewID()
	}
	rec.Version = Version
	if err := h.prepare(); err != nil {
		t.Fatal(err)
	}
	data, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.Dir(rec.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{FileRecord: data, FileLock: nil} {
		if err := os.WriteFile(filepath.Join(h.Dir(rec.ID), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return rec
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func finished(name string, at time.Time) Record {
	return Record{Name: name, State: Exited, CreatedAt: at, StartedAt: &at, EndedAt: &at, ExitCode: new(int)}
}

func typicalPlan() plan.Plan {
	p := plan.Plan{
		Name: "brave-otter", Workspace: "/home/somebody/src/project", Runtime: "native",
		Command: []string{"claude", "--dangerously-skip-permissions"}, WorkDir: "/workspace", Interactive: true, TTY: true,
		EnvNames: []string{"TERM", "LANG", "ANTHROPIC_API_KEY"}, Hostname: "brave-otter",
		User:   sandbox.User{UID: 1000, GID: 1000, Name: "somebody", Home: "/home/somebody"},
		Mounts: []sandbox.Mount{{Source: "/home/somebody/.cache/go", Target: "/cache", ReadOnly: true}},
		Grants: []string{"github"},
	}
	for _, tool := range []string{".nvm", ".cargo", ".local/share/mise", ".bun", "go/bin", ".local/bin"} {
		p.Tools = append(p.Tools, sandbox.Tool{Path: "/home/somebody/" + tool, Mask: []string{"credentials.toml", ".npmrc"}})
	}
	return p
}
