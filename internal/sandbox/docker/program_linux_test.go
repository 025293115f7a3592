package docker

import (
	"os"
	"os/exec"
	"path/filepath"
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
		if got, err := (&Runtime{}).program(dir); got != path || err != nil {
			t.Errorf("while it is there: %s, %v, want %s", got, err, path)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		got, err := (&Runtime{}).program(dir)
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
