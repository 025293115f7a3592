package journal

import (
	"errors"
	"os"
	"testing"
	"time"
)

// FuzzIndex opens whatever is taken for the two files: no panic, no more memory than a chunk needs, and whoever
// repairs them gets files that are whole.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	seed := openRoot(f, dir)
	write(f, seed, mixed[:3]...)
	write(f, seed, mixed[3:]...)
	whole := load(f, seed)
	f.Add(whole.log, whole.idx, false)
	f.Add(whole.log[:10], whole.idx, true)
	f.Add(whole.log, whole.idx[:len(whole.idx)-7], true)
	f.Add([]byte("x"), make([]byte, 100), true)
	f.Fuzz(func(t *testing.T, log, idx []byte, seal bool) {
		if seal {
			sealRecords(idx)
		}
		root := openRoot(t, dir)
		files{log, idx}.store(t, root)
		readEverything(t, root)
		o, _, err := OpenOutput(root)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		size := o.Offset()
		abandon(t, o)
		again, cut, err := OpenOutput(root)
		if err != nil || cut.Torn() || cut.At != size || size > int64(len(log)) {
			t.Fatalf("opened again: %v, %+v, first at %d of %d", err, cut, size, len(log))
		}
		abandon(t, again)
	})
}

// abandon closes without the sync, which would take most of the time.
func abandon(t *testing.T, o *Output) {
	t.Helper()
	o.syncer.stop()
	if err := errors.Join(o.log.Close(), o.idx.Close()); err != nil {
		t.Fatal(err)
	}
}

// sealRecords gives header and records right checksums, so that the fuzzer gets behind them.
func sealRecords(idx []byte) {
	if len(idx) >= headerSize {
		header := encodeHeader()
		copy(idx, header[:])
	}
	for i := range wholeRecords(int64(len(idx))) {
		b := idx[position(i):][:recordSize]
		sum := checksum(b[:sumPosition])
		b[28], b[29], b[30], b[31] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	}
}

// readEverything uses every way to read. Errors are fine, what is read is not looked at.
func readEverything(t *testing.T, root *os.Root) {
	t.Helper()
	r, err := OpenReader(root)
	if err != nil {
		return
	}
	defer r.Close()
	var total int64
	for c := range r.Chunks(0, r.End()) {
		if total += int64(len(c.Data)); total > r.End() {
			t.Fatal("more chunks than output")
		}
	}
	for _, stream := range []Stream{AnyStream, Stdout} {
		if off, err := r.TailOffset(2, stream); err == nil && (off < 0 || off > r.End()) {
			t.Errorf("tail at %d of %d", off, r.End())
		}
	}
	if off, err := r.SinceOffset(time.Unix(1<<30, 0)); err == nil && (off < 0 || off > r.End()) {
		t.Errorf("since %d of %d", off, r.End())
	}
	if _, err := r.Refresh(); err != nil {
		t.Error(err)
	}
}
