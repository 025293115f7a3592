package main

import (
	"os"
	"path/filepath"
	"testing"

	"moat/internal/plan"
	"moat/internal/sandbox/enginetest"
)

// onDocker are the scripts that run with the docker runtime too: what a run is, from start to end, whatever made its sandbox.
func onDocker() []string {
	return []string{"adopt", "attach", "ends", "exec", "interrupt_start", "logs", "run", "signals", "terminal", "trace"}
}

// TestOnDocker runs what is tested with the built-in runtime with an engine.
func TestOnDocker(t *testing.T) {
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	vars := map[string]string{"MOAT_RUNTIME": "docker", "DOCKER_HOST": startEngine(t)}
	var env []string
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	t.Run("scripts", func(t *testing.T) {
		bin, all := prepare(t)
		chosen := t.TempDir()
		for _, name := range onDocker() {
			script, err := os.ReadFile(filepath.Join(all, name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(chosen, name+".txtar"), script, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runScripts(t, bin, chosen, vars)
	})
	t.Run("engine", func(t *testing.T) {
		bin, _ := prepare(t)
		// A command for scripts that speaks with the engine.
		script := "#!/bin/sh\nexec curl -sS -f --unix-socket \"${DOCKER_HOST#unix://}\" \"$@\"\n"
		if err := os.WriteFile(filepath.Join(bin, "engine"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		runScripts(t, bin, "testdata/docker", vars)
	})
	t.Run("network", func(t *testing.T) { newLab(t, strictAgent, env...).network(t) })
	t.Run("grant", func(t *testing.T) { newLab(t, grantAgent, env...).grant(t) })
}

// startEngine starts an engine that has an image under the name that is used when nobody says another one.
func startEngine(t *testing.T) (host string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "moat-engine-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	engine, err := enginetest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Destroy(); err != nil {
			t.Error(err)
		}
	})
	for tag, changes := range map[string][]string{
		plan.UsualImage: nil,
		"full":          {`ENTRYPOINT ["echo", "entry"]`, `CMD ["said"]`},
		"plain-user":    {"USER node", "WORKDIR /srv", "ENV FROM_IMAGE=image"},
	} {
		tree, err := enginetest.Tree("bash", "cat", "curl", "env", "head", "id", "ls", "printf", "seq", "sh", "sleep", "stty", "tail", "touch", "wc")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Import(tree, tag, changes...); err != nil {
			t.Fatal(err)
		}
	}
	return engine.Host
}
