package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/plan"
	"moat/internal/sandbox/docker"
	"moat/internal/sandbox/enginetest"
)

// onDocker are the scripts that run with the docker runtime too: what a run is, from start to end, whatever made its sandbox.
func onDocker() []string {
	return []string{"adopt", "attach", "ends", "exec", "interrupt_start", "logs", "run", "signals", "terminal", "trace"}
}

// TestOnDocker runs what is tested with the built-in runtime with an engine, with each way to reach a guest.
func TestOnDocker(t *testing.T) {
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	host := startEngine(t).Host
	for _, way := range []string{"socket", "relay"} {
		t.Run(way, func(t *testing.T) {
			onEngine(t, map[string]string{"MOAT_RUNTIME": "docker", "DOCKER_HOST": host, docker.LineEnv: way})
		})
	}
}

func onEngine(t *testing.T, vars map[string]string) {
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
	t.Run("way", func(t *testing.T) { // the guest's program is in a volume where it is reached by a relay
		out, code := newLab(t, strictAgent, env...).moat("run", "--approve", "--", "ls", "/.moat")
		if relayed := strings.Contains(out, "program"); code != 0 || relayed != (vars[docker.LineEnv] == "relay") {
			t.Errorf("exit code %d, %s", code, out)
		}
	})
	t.Run("network", func(t *testing.T) { newLab(t, strictAgent, env...).network(t) })
	t.Run("grant", func(t *testing.T) { newLab(t, grantAgent, env...).grant(t) })
}

// startEngine starts an engine that has an image under the name that is used when nobody says another one.
func startEngine(t *testing.T, args ...string) *enginetest.Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "moat-engine-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	engine, err := enginetest.Start(dir, args...)
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
	return engine
}

// TestEngineGoesAway restarts the engine under a run that goes on.
func TestEngineGoesAway(t *testing.T) {
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	engine := startEngine(t, "--live-restore")
	l := newLab(t, strictAgent, "MOAT_RUNTIME=docker", "DOCKER_HOST="+engine.Host)
	if out, code := l.moat("run", "-d", "--approve", "-n", "lab", "--", "sh", "-c", "while :; do date; sleep 0.1; done"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"killed", engine.Kill}, {"started again", engine.Begin}, {"stopped", engine.Stop}, {"and again", engine.Begin},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if out, code := l.inside("curl -sS -m 20 https://example.com/a"); code != 0 || out != "HTTP/2.0 GET /a from example.com\n" {
			t.Errorf("%s: exit code %d, %q", step.name, code, out)
		}
		if out, _ := l.moat("list"); !strings.Contains(out, "running") {
			t.Errorf("%s: %s", step.name, out)
		}
	}
	l.killSupervisor(t)
	if out, code := l.inside("echo still there"); code != 0 || out != "still there\n" {
		t.Errorf("after its supervisor was killed: exit code %d, %q", code, out)
	}
	if out, code := l.moat("stop", "--time", "1", "lab"); code != 0 {
		t.Errorf("stop: exit code %d, %s", code, out)
	}
}
