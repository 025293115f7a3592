package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/sandbox/enginetest"
)

// TestOnApple runs what is tested with the other runtimes with Apple's, on a stand-in for Apple's command whose containers are an
// engine's. A moat for Linux has no such runtime, so one is built that has.
func TestOnApple(t *testing.T) {
	if why := enginetest.Missing(); why != "" {
		t.Skip(why)
	}
	stand := t.TempDir()
	build := exec.Command("go", "build", "-o", stand+"/", "moat/internal/sandbox/apple/testdata/container")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range map[string]string{"version": "1.2.0", "engine": startEngine(t).Host} {
		if err := os.WriteFile(filepath.Join(stand, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+appleOnLinux(t)))
	path := stand + ":/usr/local/bin:/usr/bin:/bin"
	t.Run("scripts", func(t *testing.T) {
		bin, all := prepare(t)
		chosen := t.TempDir()
		for _, name := range onDocker() {
			if name == "trace" {
				continue // it wants the number of root's processes limited, which Apple's command cannot
			}
			script, err := os.ReadFile(filepath.Join(all, name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(chosen, name+".txtar"), script, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runScripts(t, bin, chosen, map[string]string{"MOAT_RUNTIME": "apple", "PATH": bin + ":" + path})
	})
	t.Run("network", func(t *testing.T) { newLab(t, strictAgent, "MOAT_RUNTIME=apple", "PATH="+path).network(t) })
	t.Run("grant", func(t *testing.T) { newLab(t, grantAgent, "MOAT_RUNTIME=apple", "PATH="+path).grant(t) })
}

// appleOnLinux returns an overlay (go help build) with which moat for Linux lists what moat for macOS does.
func appleOnLinux(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("../../internal/supervisor")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replaced := map[string]string{}
	change := func(from, to string, edits ...string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(folder, from))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for i := 0; i < len(edits); i += 2 {
			if strings.Count(text, edits[i]) != 1 {
				t.Fatalf("%s does not contain %q once", from, edits[i])
			}
			text = strings.Replace(text, edits[i], edits[i+1], 1)
		}
		replaced[filepath.Join(folder, to)] = filepath.Join(dir, to)
		if err := os.WriteFile(filepath.Join(dir, to), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("runtimes_linux.go", "runtimes_linux.go", "{nativeKind(), dockerKind()}", "{nativeKind(), dockerKind(), appleKind()}")
	change("runtimes_darwin.go", "runtimes_apple.go",
		"func kinds() []kind { return []kind{appleKind(), dockerKind()} }", "const processor = runtime.GOARCH",
		"apple.Runtime{", "apple.Runtime{Arch: processor, ",
		`"context"`, "\"context\"\n\t\"runtime\"")
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
