package native

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Machine is the Host of this machine. home is absolute; env is in the form of os.Environ.
func Machine(home string, env []string) Host {
	m := machine{home: home, env: map[string]string{}}
	for _, kv := range env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			m.env[key] = value
		}
	}
	return m
}

type machine struct {
	home string
	env  map[string]string
}

func (m machine) Home() string                           { return m.home }
func (m machine) Getenv(key string) string               { return m.env[key] }
func (m machine) Lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
func (m machine) Readlink(path string) (string, error)   { return os.Readlink(path) }

func (m machine) ReadDir(path string) ([]fs.DirEntry, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (m machine) ReadFile(path string) ([]byte, error) {
	if info, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFile))
}
