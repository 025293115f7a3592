package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// files are the contents of a run's two files.
type files struct{ log, idx []byte }

func load(t testing.TB, root *os.Root) files {
	t.Helper()
	log, err := root.ReadFile(LogName)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := root.ReadFile(IndexName)
	if err != nil {
		t.Fatal(err)
	}
	return files{log, idx}
}

func (f files) store(t testing.TB, root *os.Root) {
	t.Helper()
	root.Remove(LogName) // ext4 flushes a file that is truncated and written anew, and that takes its time
	root.Remove(IndexName)
	if err := errors.Join(root.WriteFile(LogName, f.log, 0o600), root.WriteFile(IndexName, f.idx, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// readAll reads everything, or fails with what OpenReader or Chunks say.
func readAll(root *os.Root) (got []piece, cut Recovery, err error) {
	r, err := OpenReader(root)
	if err != nil {
		return nil, Recovery{}, err
	}
	defer r.Close()
	for c, err := range r.Chunks(0, r.End()) {
		if err != nil {
			return nil, Recovery{}, err
		}
		got = append(got, piece{int(c.Time.Sub(epoch).Seconds()), c.Stream, string(c.Data)})
	}
	return got, r.Torn(), nil
}

// checkPrefix fails unless got are the first of want.
func checkPrefix(t *testing.T, want, got []piece) {
	t.Helper()
	if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
		t.Errorf("not a prefix: %v of %v", got, want)
	}
}

// checkRecovery fails unless reader and writer agree on the whole part of the files, which must be the first of want,
// and the writer goes on from there. It returns how many pieces were left.
func checkRecovery(t *testing.T, root *os.Root, want []piece) int {
	t.Helper()
	before := load(t, root)
	got, torn, err := readAll(root)
	if err != nil {
		t.Fatal(err)
	}
	checkPrefix(t, want, got)
	if after := load(t, root); !bytes.Equal(before.log, after.log) || !bytes.Equal(before.idx, after.idx) {
		t.Error("the reader changed a file")
	}

	o, cut, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, torn, cut)
	if o.Offset() != int64(len(text(got))) || cut.At != o.Offset() {
		t.Errorf("writer is at %d and says %d, reader has %d bytes", o.Offset(), cut.At, len(text(got)))
	}
	after := load(t, root)
	if lost := int64(len(before.log) - len(after.log)); cut.Output != lost {
		t.Errorf("cut says %d bytes, %d were cut", cut.Output, lost)
	}
	headed := len(before.idx) >= headerSize && before.idx[0] == magic[0]
	if lost := int64(len(before.idx) - len(after.idx)); cut.Index != lost && headed {
		t.Errorf("cut says %d bytes of index, %d were cut", cut.Index, lost)
	}
	more := piece{1000, Stderr, "more\n"}
	appendAll(t, o, more)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	again, torn, err := readAll(root)
	if err != nil {
		t.Fatal(err)
	}
	if torn.Torn() {
		t.Errorf("still torn after the repair: %+v", torn)
	}
	diff(t, append(slices.Clip(got), more), again)
	return len(got)
}

func TestEveryTruncationRecovers(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed[:4]...) // with a checkpoint in the middle
	write(t, root, mixed[4:]...)
	whole := load(t, root)
	for n := range len(whole.log) {
		cut := whole
		cut.log = whole.log[:n]
		cut.store(t, root)
		left := checkRecovery(t, root, mixed)
		if size := len(text(mixed[:left])); size > n || left < len(mixed) && len(text(mixed[:left+1])) <= n {
			t.Errorf("output cut to %d bytes: %d pieces left", n, left)
		}
	}
	for n := range len(whole.idx) {
		cut := whole
		cut.idx = whole.idx[:n]
		cut.store(t, root)
		checkRecovery(t, root, mixed)
	}
}

func TestCutIsReported(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed...)
	f := load(t, root)
	f.log = append(f.log, "beyond"...)
	f.idx = f.idx[:len(f.idx)-recordSize-1] // the checkpoint, and a byte of the last piece's record
	f.store(t, root)
	o, cut, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	diff(t, Recovery{At: int64(len(text(mixed[:5]))), Time: second(4), Index: recordSize - 1, Output: 7}, cut)
}

func TestEveryFlippedByteIsFoundOrHarmless(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed[:4]...)
	write(t, root, mixed[4:]...)
	whole := load(t, root)
	for _, part := range []string{"index", "output"} {
		for i := range len(whole.idx) + len(whole.log) {
			for _, mask := range []byte{0x01, 0xff} {
				bad := files{slices.Clone(whole.log), slices.Clone(whole.idx)}
				target := bad.idx
				if part == "output" {
					target = bad.log
				}
				if i >= len(target) {
					continue
				}
				target[i] ^= mask
				bad.store(t, root)
				checkFlip(t, root, fmt.Sprintf("%s byte %d ^ %#x", part, i, mask))
			}
		}
	}
}

func checkFlip(t *testing.T, root *os.Root, what string) {
	t.Helper()
	got, torn, err := readAll(root)
	switch {
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat):
	case err != nil:
		t.Errorf("%s: %v", what, err)
	case !torn.Torn():
		t.Errorf("%s: nothing noticed", what)
	default:
		checkPrefix(t, mixed, got)
	}
	o, cut, err := OpenOutput(root)
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	// Damage before the last checkpoint is left for the reader to find.
	if size := int64(len(text(mixed))); o.Offset() > size || !cut.Torn() && o.Offset() != size {
		t.Errorf("%s: writer at %d, cut %+v", what, o.Offset(), cut)
	}
	if err := o.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestLossOfPower takes what was not synced away at random: blocks of zeros, or the ends of the files.
func TestLossOfPower(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var pieces []piece
	for i := range 60 {
		data := bytes.Repeat([]byte{byte('a' + i%26)}, 1+random.IntN(300))
		pieces = append(pieces, piece{i, Stdout, string(data)})
	}
	root := openRoot(t, t.TempDir())
	o, _, err := OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	const synced = 25
	appendAll(t, o, pieces[:synced]...)
	if err := o.Sync(); err != nil {
		t.Fatal(err)
	}
	durable := load(t, root) // the checkpoint itself is not
	appendAll(t, o, pieces[synced:]...)
	whole := load(t, root)
	target := openRoot(t, t.TempDir())
	lost := 0
	for range 150 {
		f := files{
			log: losePower(random, whole.log, len(durable.log)),
			idx: losePower(random, whole.idx, len(durable.idx)-recordSize),
		}
		f.store(t, target)
		left := checkRecovery(t, target, pieces)
		if left < synced {
			t.Fatalf("%d pieces left, %d were synced", left, synced)
		}
		lost += len(pieces) - left
	}
	if lost == 0 {
		t.Error("nothing was ever lost: the test tests nothing")
	}
}

func losePower(random *rand.Rand, whole []byte, durable int) []byte {
	const block = 64
	b := slices.Clone(whole)
	b = b[:durable+random.IntN(len(b)-durable+1)]
	for start := durable - durable%block; start < len(b); start += block {
		if random.IntN(8) == 0 {
			clear(b[max(start, durable):min(start+block, len(b))])
		}
	}
	return b
}

func TestHeaders(t *testing.T) {
	later := encodeHeader()
	later[8] = 2
	sum := checksum(later[:headerSize-4])
	later[28], later[29], later[30], later[31] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	tests := map[string]struct {
		idx  []byte
		fail bool
	}{
		"empty":             {nil, false},
		"short":             {[]byte(magic), false},
		"never on the disk": {make([]byte, 96), false},
		"of a later moat":   {later[:], true},
		"something else":    {bytes.Repeat([]byte("text "), 20), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t, t.TempDir())
			files{[]byte("bytes"), test.idx}.store(t, root)
			if !test.fail {
				checkRecovery(t, root, nil)
				return
			}
			if _, _, err := readAll(root); !errors.Is(err, ErrFormat) {
				t.Errorf("reader: %v", err)
			}
			if _, _, err := OpenOutput(root); !errors.Is(err, ErrFormat) {
				t.Errorf("writer: %v", err)
			}
			if got := load(t, root); string(got.log) != "bytes" || !bytes.Equal(got.idx, test.idx) {
				t.Error("the files were changed")
			}
		})
	}
}

func TestWriterRefusesToCutWhatNoCrashExplains(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root, mixed...)
	f, err := root.OpenFile(LogName, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(len(text(mixed))) + maxCut + 1
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenOutput(root); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("size %d, %v", info.Size(), err)
	}
}

func TestNoOutput(t *testing.T) {
	root := openRoot(t, t.TempDir())
	if _, err := OpenReader(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if entries, err := fs.ReadDir(root.FS(), "."); err != nil || len(entries) > 0 {
		t.Errorf("the reader made %v, %v", entries, err)
	}
	write(t, root)
	r := openReader(t, root)
	off, err := r.TailOffset(10, AnyStream)
	if r.End() != 0 || off != 0 || err != nil || copied(t, r, CopyOptions{To: 100}) != "" {
		t.Errorf("end %d, tail %d, %v", r.End(), off, err)
	}
}

func TestReaderThatCameBeforeTheWriter(t *testing.T) {
	root := openRoot(t, t.TempDir())
	files{}.store(t, root)
	r := openReader(t, root)
	write(t, root, mixed...)
	if end, err := r.Refresh(); err != nil || end != int64(len(text(mixed))) {
		t.Errorf("end %d, %v", end, err)
	}
	diff(t, mixed, chunks(t, r, 0, r.End()))
}
