package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantReport checks that err is a report on one problem of a whole file.
func wantReport(t *testing.T, err error, part string) {
	t.Helper()
	report, ok := errors.AsType[*Error](err)
	if !ok || len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Message, part) {
		t.Errorf("got %v, want a report with %q", err, part)
	}
}

func TestLoad(t *testing.T) {
	for _, name := range []string{AgentFile, AgentFileMoat} {
		dir := t.TempDir()
		write(t, "name: demo\n", dir, name)
		agent, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(dir, name); agent.Name != "demo" || agent.File != want {
			t.Errorf("got %+v, want name demo from %s", agent, want)
		}
	}
}

func TestLoadNone(t *testing.T) {
	if agent, err := Load(t.TempDir()); agent != nil || err != nil {
		t.Errorf("got %v, %v, want neither", agent, err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a workspace that is not there gives %v", err)
	}
}

func TestLoadBoth(t *testing.T) {
	dir := t.TempDir()
	write(t, "", dir, AgentFile)
	write(t, "", dir, AgentFileMoat)
	_, err := Load(dir)
	wantReport(t, err, AgentFileMoat)
}

func TestLoadReportsWithPath(t *testing.T) {
	dir := t.TempDir()
	write(t, "nmae: x\n", dir, AgentFile)
	_, err := Load(dir)
	if want := filepath.Join(dir, AgentFile) + `:1:1: unknown key "nmae"; did you mean "name"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadTooLarge(t *testing.T) {
	dir := t.TempDir()
	write(t, "", dir, AgentFile)
	if err := os.Truncate(filepath.Join(dir, AgentFile), 1<<40); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir)
	wantReport(t, err, "larger than")
}

func TestLoadGlobal(t *testing.T) {
	home := t.TempDir()
	got, err := LoadGlobal(home)
	if diff := cmp.Diff(DefaultGlobal(), got); err != nil || diff != "" {
		t.Errorf("without a file: %v\n%s", err, diff)
	}
	if got, err := LoadGlobal(filepath.Join(home, "absent")); err != nil || got == nil {
		t.Errorf("without a home: %v, %v", got, err)
	}
	write(t, "runtime: docker\n", home, GlobalFile)
	if got, err = LoadGlobal(home); err != nil || got.Runtime != RuntimeDocker {
		t.Errorf("got %+v, %v", got, err)
	}
}
