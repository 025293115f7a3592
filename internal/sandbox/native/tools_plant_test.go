//go:build linux

package native

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// plant makes files below dir. A value is "x" (any content), "dir", "-> target" (a link), "exe" (a copy of a real program),
// "MODE" or "MODE content"; everything else is content.
func plant(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, value := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode, content, _ := strings.Cut(value, " ")
		bits, err := strconv.ParseUint(mode, 8, 12)
		switch {
		case value == "dir":
			must(t, os.MkdirAll(path, 0o755))
		case value == "exe":
			program, err := os.ReadFile("/bin/true")
			must(t, err)
			must(t, os.WriteFile(path, program, 0o755))
		case mode == "->":
			must(t, os.Symlink(content, path))
		case err == nil:
			must(t, os.WriteFile(path, []byte(content), 0o600))
			must(t, os.Chmod(path, os.FileMode(bits)))
		default:
			must(t, os.WriteFile(path, []byte(value), 0o644))
		}
	}
}

func mkfifo(t testing.TB, path string) {
	t.Helper()
	must(t, unix.Mkfifo(path, 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
