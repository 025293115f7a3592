package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// base is the folder of everything that this test process makes, with the programs that the tests use.
type base struct{ dir string }

// programs is set by TestMain alone.
var programs = &base{}

// Names in base.dir.
const (
	moatName   = "moat"
	talkerName = "talk" // this test binary; under that name it is a command to run in a sandbox
)

// envMoat names a moat program to use instead of building one: where there is no Go, as for another user.
const envMoat = "SOAK_MOAT"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == talkerName {
		os.Exit(talk(os.Args[1:]))
	}
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		code = 1
	}
	os.Exit(code)
}

func prepared(m *testing.M) (code int, err error) {
	if programs.dir, err = os.MkdirTemp("", "soak-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(programs.dir)
	if err := os.Chmod(programs.dir, 0o755); err != nil {
		return 1, err
	}
	if given := os.Getenv(envMoat); given != "" {
		err = copyProgram(given, programs.path(moatName))
	} else {
		err = build(programs.path(moatName), "CGO_ENABLED=0")
	}
	if err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	if err := copyProgram(self, programs.path(talkerName)); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func (b *base) path(name string) string { return filepath.Join(b.dir, name) }

func build(out, cgo string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", out}, flags...), "moat/cmd/moat")...)
	cmd.Env = append(os.Environ(), cgo)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build moat: %w\n%s", err, text)
	}
	return nil
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
