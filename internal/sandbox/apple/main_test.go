//go:build unix

package apple_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"moat/internal/sandbox"
)

// standEnv makes a process start the sandbox that it reads, with the stand-in of that folder.
const standEnv = "MOAT_TEST_STAND"

func TestMain(m *testing.M) {
	if dir := os.Getenv(standEnv); dir != "" {
		fmt.Fprintln(os.Stderr, startWith(dir))
		os.Exit(1)
	}
	if os.Getenv(programsEnv) != "" { // one that the suite has started
		os.Exit(runTests(m))
	}
	code, err := prepared(func() int { return runTests(m) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func startWith(dir string) error {
	var spec sandbox.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return err
	}
	s := &stand{dir: dir}
	return s.runtime().Start(context.Background(), spec)
}

// prepared runs tests with the programs that they need.
func prepared(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "moat-apple-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := buildPrograms(dir, "moat/internal/sandbox/apple/testdata/container"); err != nil {
		return 1, err
	}
	if err := os.Setenv(programsEnv, dir); err != nil {
		return 1, err
	}
	return run(), nil
}
