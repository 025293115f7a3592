package native

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// TestRemount takes the way of kernels before 5.12 and compares it with what mount_setattr(2) promises.
func TestRemount(t *testing.T) {
	if !alone(t) {
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	top := filepath.Join(t.TempDir(), "top with a space")
	must(t, os.Mkdir(top, 0o755))
	must(t, unix.Mount("tmpfs", top, "tmpfs", unix.MS_NOEXEC, ""))
	t.Cleanup(func() { must(t, unix.Unmount(top, unix.MNT_DETACH)) })
	must(t, os.Mkdir(top+"/below", 0o755))
	must(t, unix.Mount("tmpfs", top+"/below", "tmpfs", unix.MS_NODEV, ""))
	for _, deep := range []bool{false, true} {
		fd, err := unix.Open(top, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, remount(fd, readOnly, deep))
		unix.Close(fd)
		if err := os.WriteFile(top+"/x", nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("deep %v: write at the top: %v", deep, err)
		}
		err = os.WriteFile(top+"/below/x", nil, 0o644)
		if deep != errors.Is(err, unix.EROFS) {
			t.Errorf("deep %v: write below: %v", deep, err)
		}
	}
	mounts, err := mountsBelow("/proc/self/mountinfo", top)
	must(t, err)
	if len(mounts) != 2 || mounts[0].flags&unix.MS_NOEXEC == 0 || mounts[0].flags&unix.MS_NOSUID == 0 {
		t.Errorf("earlier flags were lost: %+v", mounts)
	}
}

// TestEtcWithoutOverlay takes the way for machines where /etc cannot be part of an overlay.
func TestEtcWithoutOverlay(t *testing.T) {
	if !alone(t) {
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, rootDir), 0o755))
	b := Boot{Spec: sandbox.Spec{Ref: sandbox.Ref{Dir: dir}}}
	must(t, b.makeScratch())
	t.Cleanup(func() { must(t, unix.Unmount(b.scratch, unix.MNT_DETACH)) })
	root := filepath.Join(b.scratch, "root")
	must(t, unix.Mount("tmpfs", root, "tmpfs", 0, ""))
	at, err := openTree(root)
	must(t, err)
	layer, err := openTree(filepath.Join(b.scratch, etcLayer))
	must(t, err)
	made := map[string][]byte{"hosts": []byte("ours\n"), "not-on-the-host": []byte("ours\n")}
	must(t, b.coverEtc(at, layer, made, []string{"passwd", "ssl", "not-there"}))
	must(t, b.sealScratch(tree{}))
	for name, want := range map[string]string{"hosts": "ours\n", "passwd": ""} {
		got, err := os.ReadFile(filepath.Join(root, "etc", name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), nil, 0o644); err == nil {
			t.Errorf("%s can be written", name)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(root, "etc/ssl")); err != nil || len(entries) > 0 {
		t.Errorf("a hidden directory shows %v, %v", entries, err)
	}
}

// TestReachFollowsNothing builds in a directory where somebody has put links.
func TestReachFollowsNothing(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.Symlink(outside, dir+"/link"))
	must(t, os.Symlink("/not/there", dir+"/dangling"))
	at, err := openTree(dir)
	must(t, err)
	for _, p := range []string{"/link/x", "/link", "/dangling", "/dangling/x", "/a/../link/x"} {
		for _, asDir := range []bool{true, false} {
			if fd, err := at.reach(p, asDir); err == nil {
				t.Errorf("%s was reached", pathOf(fd))
			}
		}
	}
	fd, err := at.reach("/new/deep/file", false)
	must(t, err)
	if got := pathOf(fd); got != dir+"/new/deep/file" {
		t.Errorf("made %s", got)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

// TestSourceIsWhatWasLookedAt swaps things between the look and the use.
func TestSourceIsWhatWasLookedAt(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, base string){
		"other directory": func(t *testing.T, base string) {
			must(t, os.Rename(base+"/a/b", base+"/old"))
			must(t, os.Mkdir(base+"/a/b", 0o755))
		},
		"link": func(t *testing.T, base string) {
			must(t, os.Rename(base+"/a/b", base+"/old"))
			must(t, os.Symlink("/etc", base+"/a/b"))
		},
		"link to itself": func(t *testing.T, base string) {
			must(t, os.Rename(base+"/a/b", base+"/old"))
			must(t, os.Symlink(base+"/old", base+"/a/b"))
		},
		"link on the way": func(t *testing.T, base string) {
			must(t, os.Rename(base+"/a", base+"/old"))
			must(t, os.Symlink(base+"/old", base+"/a"))
		},
		"nothing": func(t *testing.T, base string) { must(t, os.Remove(base+"/a/b")) },
	} {
		base := t.TempDir()
		must(t, os.MkdirAll(base+"/a/b", 0o755))
		s, err := newSource(base + "/a/b")
		must(t, err)
		if fd, err := s.open(); err != nil {
			t.Errorf("%s: before: %v", name, err)
		} else {
			unix.Close(fd)
		}
		swap(t, base)
		if fd, err := s.open(); err == nil {
			t.Errorf("%s: %s was opened", name, pathOf(fd))
		}
	}
	base := t.TempDir()
	must(t, unix.Mkfifo(base+"/fifo", 0o600))
	if _, err := newSource(base + "/fifo"); !errors.Is(err, sandbox.ErrSpec) {
		t.Errorf("a fifo: %v", err)
	}
	if _, err := newSource(base + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
