package journal

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestNetworkOnAFullDisk fills a real small file system, makes room and goes on.
func TestNetworkOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a tmpfs; TestNetworkWaitsForRoom covers the rest")
	}
	dir := t.TempDir()
	if err := syscall.Mount("journal-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 3500<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	full, goesOn := make(chan error, 1), make(chan struct{})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	n, _, err := OpenNetwork(root, func(err error) {
		if err == nil {
			close(goesOn)
			return
		}
		full <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	const count = 1500
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		for i := range count {
			r := request("a.example")
			r.URL += strings.Repeat("x", i)
			n.End(ended(r, n.Begin(r)))
		}
	}()
	if err := <-full; !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("told of %v", err)
	}
	got, damaged := requests(t, dir)
	if len(got) >= count || damaged != 0 { // it may be none: tmpfs can refuse a large write as a whole
		t.Errorf("on the full disk: %d records, %d damaged", len(got), damaged)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	<-goesOn
	<-recorded
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if got, damaged := requests(t, dir); len(got) != count || damaged != 0 {
		t.Errorf("in the end: %d records, %d damaged", len(got), damaged)
	}
}
