package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names returns every path below root.
func names(t *testing.T, root *os.Root) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if path != "." {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWriteReplaces(t *testing.T) {
	root := openRoot(t)
	if err := root.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run.json", "sub/run.json"} {
		for _, content := range []string{"first", "", "second, longer\x00\xff"} {
			if err := Write(root, name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := root.ReadFile(name); err != nil || string(got) != content {
				t.Errorf("%s holds %q (%v), want %q", name, got, err, content)
			}
		}
	}
	if got := strings.Join(names(t, root), " "); got != "run.json sub sub/run.json" {
		t.Errorf("left in the folder: %s", got)
	}
}

func TestWriteSetsExactPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs Unix permissions")
	}
	root := openRoot(t)
	for _, perm := range []fs.FileMode{0o600, 0o666, 0o444} {
		if err := Write(root, "f", []byte("x"), perm); err != nil {
			t.Fatal(err)
		}
		info, err := root.Stat("f")
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != perm {
			t.Errorf("mode %v, want %v", info.Mode(), perm)
		}
	}
}

func TestWriteReplacesLinkAndLeavesItsTarget(t *testing.T) {
	root := openRoot(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := root.Symlink(outside, "f"); err != nil {
		t.Fatal(err)
	}
	if err := Write(root, "f", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(outside); string(got) != "mine" {
		t.Errorf("the link's target was written: %q", got)
	}
	if info, err := root.Lstat("f"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("not a regular file: %v %v", info, err)
	}
}

func TestWriteErrorLeavesNothing(t *testing.T) {
	tests := map[string]struct {
		name    string
		prepare func(*os.Root) error
	}{
		"a folder with files is in the way": {"d", func(r *os.Root) error {
			return errors.Join(r.Mkdir("d", 0o700), r.WriteFile("d/f", nil, 0o600))
		}},
		"no such folder":        {"no/f", func(*os.Root) error { return nil }},
		"a way out of the root": {"../f", func(*os.Root) error { return nil }},
		"a link out of the root": {"out/f", func(r *os.Root) error {
			return r.Symlink(os.TempDir(), "out")
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			if err := test.prepare(root); err != nil {
				t.Fatal(err)
			}
			before := strings.Join(names(t, root), " ")
			if err := Write(root, test.name, []byte("x"), 0o600); err == nil {
				t.Error("no error")
			}
			if after := strings.Join(names(t, root), " "); after != before {
				t.Errorf("folder holds %q, before %q", after, before)
			}
		})
	}
}

func TestReadersSeeOldOrNew(t *testing.T) {
	root := openRoot(t)
	a, b := strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)
	if err := Write(root, "f", []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := root.ReadFile("f")
				if err != nil || (string(got) != a && string(got) != b) {
					t.Errorf("read %d bytes, %v", len(got), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		content := a
		if i%2 == 0 {
			content = b
		}
		if err := Write(root, "f", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
}
