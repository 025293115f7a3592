//go:build unix

package config

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestLoadRefusesWhatIsNotAFile(t *testing.T) {
	for kind, create := range map[string]func(path string) error{
		"a folder":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a socket": func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		},
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{AgentFile, GlobalFile} {
				if err := create(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir)
			wantReport(t, err, kind)
			_, err = LoadGlobal(dir)
			wantReport(t, err, kind)
		})
	}
}

func TestLoadLinks(t *testing.T) {
	outside := t.TempDir()
	write(t, "name: outside\n", outside, "file.yaml")
	const leads = "leads out of the workspace"
	for name, c := range map[string]struct{ target, problem string }{
		"inside":          {"sub/file.yaml", ""},
		"inside, around":  {"sub/../sub/file.yaml", ""},
		"outside":         {filepath.Join(outside, "file.yaml"), leads},
		"relative":        {"../outside.yaml", leads},
		"through folder":  {"out/file.yaml", leads},
		"device":          {"/dev/zero", leads},
		"circle":          {AgentFile, leads},
		"nothing":         {"absent.yaml", "not there"},
		"pipe inside":     {"pipe", "a named pipe"},
		"descriptor file": {"/proc/self/fd/0", leads},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, "name: inside\n", dir, "sub", "file.yaml")
			for _, link := range [][2]string{{c.target, AgentFile}, {outside, "out"}} {
				if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
					t.Fatal(err)
				}
			}
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			agent, err := Load(dir)
			if c.problem != "" {
				wantReport(t, err, c.problem)
			} else if err != nil || agent.Name != "inside" {
				t.Errorf("got %+v, %v", agent, err)
			}
		})
	}
}

// A person may keep config.yaml elsewhere.
func TestLoadGlobalLinks(t *testing.T) {
	outside, home := t.TempDir(), t.TempDir()
	link := filepath.Join(home, GlobalFile)
	if err := os.Symlink(filepath.Join(outside, "file.yaml"), link); err != nil {
		t.Fatal(err)
	}
	_, err := LoadGlobal(home)
	wantReport(t, err, "not there")

	write(t, "runtime: native\n", outside, "file.yaml")
	if got, err := LoadGlobal(home); err != nil || got.Runtime != RuntimeNative {
		t.Errorf("got %+v, %v", got, err)
	}
}

// swapped replaces the file after the first look at it.
type swapped struct {
	*os.Root
	swap func() error
}

func (s swapped) Stat(name string) (fs.FileInfo, error) {
	info, err := s.Root.Stat(name)
	if err == nil {
		err = s.swap()
	}
	return info, err
}

// An agent that swaps the file for a pipe between look and opening must not
// make the host wait for a writer.
func TestLoadRefusesSwappedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, AgentFile)
	write(t, "name: demo\n", path)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, err = readRegular(swapped{root, func() error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return syscall.Mkfifo(path, 0o600)
	}}, AgentFile)
	wantReport(t, err, "a named pipe")
}
