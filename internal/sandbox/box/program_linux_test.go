package box

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const programEnv = "MOAT_TEST_PROGRAM_DIR"

// TestProgram looks for this program's file after somebody has removed it.
func TestProgram(t *testing.T) {
	if dir := os.Getenv(programEnv); dir != "" { // the second process, whose file goes away
		path, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Program(runtime.GOARCH, dir); got != path || err != nil {
			t.Errorf("while it is there: %s, %v, want %s", got, err, path)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		got, err := Program(runtime.GOARCH, dir)
		if err != nil || got != filepath.Join(dir, programName) {
			t.Fatalf("when it is gone: %s, %v", got, err)
		}
		if out, err := exec.Command(got, "-test.list=^TestProgram$").Output(); err != nil || !strings.Contains(string(out), "TestProgram") {
			t.Errorf("the copy: %s, %v", out, err)
		}
		return
	}
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestProgram$")
	cmd.Env = append(os.Environ(), programEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBeside looks for the guest of a moat that is not one itself.
func TestBeside(t *testing.T) {
	dir, links := t.TempDir(), t.TempDir()
	const pkg = "moat/internal/sandbox/sandboxtest/testdata/probe" // stands for moat, which takes long to build
	build := func(out, arch, pkg string) {
		t.Helper()
		_ = os.Remove(out) // go build spares what it has not made
		cmd := exec.Command("go", "build", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
	}
	exe, link := filepath.Join(dir, "moat"), filepath.Join(links, "moat")
	if err := errors.Join(os.WriteFile(exe, nil, 0o755), os.Symlink(exe, link)); err != nil {
		t.Fatal(err)
	}
	guest := filepath.Join(dir, GuestName("arm64"))
	fails := func(reason string) {
		t.Helper()
		var missing *GuestError
		_, err := beside(link, "arm64", pkg)
		if !errors.As(err, &missing) || missing.Path != guest || !strings.Contains(missing.Reason, reason) || !strings.Contains(missing.Fix(), guest) {
			t.Errorf("%v, want a reason with %q", err, reason)
		}
	}
	fails("no such file")
	if err := os.WriteFile(guest, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	fails("not a program of moat's")
	build(guest, "amd64", pkg)
	fails("linux/amd64")
	build(guest, "arm64", pkg)
	if _, err := beside(link, "arm64", guestPackage); err == nil || !strings.Contains(err.Error(), "another program: "+pkg) {
		t.Errorf("another program: %v", err)
	}
	if got, err := beside(link, "arm64", pkg); got != guest || err != nil {
		t.Errorf("%s, %v, want %s", got, err, guest)
	}
}
