package journal

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestFullDisk fills a real small file system, makes room and goes on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a tmpfs; TestFailedAppendChangesNothing covers the rest")
	}
	dir := t.TempDir()
	if err := syscall.Mount("journal-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	full := appendUntilFull(t, o)
	for range 3 {
		if err := o.Append(full); !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v", err)
		}
	}
	checkPattern(t, root, full.Offset)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := o.Append(full); err != nil {
		t.Fatal(err)
	}
	full = appendUntilFull(t, o)
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	checkPattern(t, root, full.Offset)

	// Opened on the full disk it still has what was recorded.
	again, cut, err := OpenOutput(root)
	if err != nil || again.Offset() != full.Offset || cut.Output > 0 {
		t.Fatalf("opened again: %v, %+v", err, cut)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// appendUntilFull returns the chunk that found no room.
func appendUntilFull(t *testing.T, o *Output) Chunk {
	t.Helper()
	for {
		c := Chunk{Stream: Stdout, Offset: o.Offset(), Data: pattern(o.Offset(), 10_007)}
		err := o.Append(c)
		if errors.Is(err, ErrNoSpace) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkPattern(t *testing.T, root *os.Root, size int64) {
	t.Helper()
	r, err := OpenReader(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := copied(t, r, CopyOptions{To: r.End()}); r.End() != size || !bytes.Equal([]byte(got), pattern(0, int(size))) {
		t.Errorf("%d bytes, want %d of the pattern", r.End(), size)
	}
}
