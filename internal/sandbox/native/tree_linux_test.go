package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemoveAll removes what is hard to remove, and nothing else.
func TestRemoveAll(t *testing.T) {
	make := map[string]func(t *testing.T, dir string){
		"file":  func(t *testing.T, dir string) { must(t, os.WriteFile(dir, nil, 0o600)) },
		"empty": func(t *testing.T, dir string) { must(t, os.Mkdir(dir, 0o700)) },
		"closed directories": func(t *testing.T, dir string) {
			must(t, os.MkdirAll(dir+"/a/b/c", 0o700))
			must(t, os.WriteFile(dir+"/a/b/c/f", nil, 0o600))
			for _, d := range []string{"/a/b/c", "/a/b", "/a", ""} {
				must(t, os.Chmod(dir+d, 0))
			}
		},
		"many files": func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			for i := range 5000 {
				must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
			}
		},
		"strange names": func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			for _, n := range []string{strings.Repeat("x", 255), "\xff\xfe", "-rf", "a\nb", " "} {
				must(t, os.WriteFile(filepath.Join(dir, n), nil, 0))
			}
		},
		"pipe and links": func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			must(t, unix.Mkfifo(dir+"/pipe", 0o600))
			must(t, os.Symlink("../kept", dir+"/link"))
			must(t, os.Symlink("loop", dir+"/loop"))
		},
		"too deep for a path": func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			fd, err := unix.Open(dir, unix.O_PATH, 0)
			must(t, err)
			for range 3000 {
				must(t, unix.Mkdirat(fd, "deep", 0o700))
				next, err := unix.Openat(fd, "deep", unix.O_PATH, 0)
				must(t, err)
				unix.Close(fd)
				fd = next
			}
			must(t, unix.Close(fd))
		},
	}
	for name, mk := range make {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			kept := filepath.Join(base, "kept", "file")
			must(t, os.Mkdir(filepath.Dir(kept), 0o500))
			mk(t, filepath.Join(base, "tree"))
			fd, err := unix.Open(base, unix.O_RDONLY, 0)
			must(t, err)
			defer unix.Close(fd)
			must(t, removeAll(fd, "tree"))
			left, err := os.ReadDir(base)
			must(t, err)
			if len(left) != 1 || left[0].Name() != "kept" {
				t.Errorf("left: %v", left)
			}
			fi, err := os.Stat(filepath.Dir(kept))
			must(t, err)
			if fi.Mode().Perm() != 0o500 {
				t.Errorf("mode of what a link led to: %v", fi.Mode())
			}
			if err := removeAll(fd, "tree"); err != nil {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

// TestClearTogether has several clear the same folder: each finds it cleared.
func TestClearTogether(t *testing.T) {
	for range 60 {
		dir := t.TempDir() + "/sandbox"
		for _, d := range []string{"/upper/a/b", "/work", "/deep" + strings.Repeat("/d", 2*maxDepth)} {
			must(t, os.MkdirAll(dir+d, 0o700))
			must(t, os.WriteFile(dir+d+"/f", nil, 0o600))
		}
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				if err := clearDir(dir, homeDir); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("it is still there: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatal(err)
	}
}
