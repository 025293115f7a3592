package cgroup_test

import (
	"os"
	"path/filepath"
	"testing"

	"moat/internal/sandbox/cgroup"
)

func TestOOMKills(t *testing.T) {
	for file, content := range map[string]string{
		"memory.events":      "low 0\noom 5\noom_kill 3\noom_group_kill 0\n",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := cgroup.OOMKills(dir); got != 3 {
			t.Errorf("%s: %d", file, got)
		}
	}
	if got := cgroup.OOMKills("/not/there"); got != 0 {
		t.Errorf("without a group: %d", got)
	}
}
