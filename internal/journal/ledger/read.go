package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"moat/internal/audit"
)

// Reader reads a log, also while it grows. It takes no lock and writes nothing.
type Reader struct {
	file *os.File
	more *scanner // of More; nil: it was not called yet
}

// OpenReader opens the log below a folder for reading: fs.ErrNotExist if there is none. The caller closes it.
func OpenReader(dir *os.Root) (*Reader, error) {
	f, err := dir.OpenFile(LogName, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return nil, fmt.Errorf("open the audit record: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("the audit record is not a regular file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Reader{file: f}, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

// Entries goes through the encoded entries up to the end, or to where the log is not whole; nothing is checked but their
// frames. An entry is valid until the next one.
func (r *Reader) Entries() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		newScanner(r.file).entries(yield)
	}
}

// More is like Entries, and goes on where the last More ended.
func (r *Reader) More() iter.Seq2[[]byte, error] {
	if r.more == nil {
		r.more = newScanner(r.file)
	}
	return r.more.entries
}

// entries yields what is left.
func (s *scanner) entries(yield func([]byte, error) bool) {
	for {
		kind, payload, err := s.next()
		if errors.Is(err, io.EOF) || errors.Is(err, audit.ErrTorn) || errors.Is(err, audit.ErrFrame) {
			return
		}
		if err == nil && kind == audit.FrameCheckpoint {
			continue
		}
		if !yield(payload, err) || err != nil {
			return
		}
	}
}

// Newest is the newest checkpoint in the log; ErrUnsigned if there is none.
func (r *Reader) Newest() ([]byte, error) {
	s := newScanner(r.file)
	var newest []byte
	for {
		kind, payload, err := s.next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, audit.ErrTorn), errors.Is(err, audit.ErrFrame):
			if newest == nil {
				return nil, ErrUnsigned
			}
			return newest, nil
		case err != nil:
			return nil, err
		case kind == audit.FrameCheckpoint:
			_, signed, err := audit.SplitCheckpoint(payload)
			if err != nil {
				return nil, err
			}
			newest = append(newest[:0], signed...)
		}
	}
}

// Anchor is the newest checkpoint of the machine's record that the log of a run has; false if it has none.
func (r *Reader) Anchor() (Claim, bool) {
	var claim Claim
	var e audit.Entry
	for data, err := range r.Entries() {
		if err != nil || !bytes.Contains(data[:min(len(data), kindWithin)], []byte(`"kind":"anchor"`)) || e.Parse(data) != nil {
			continue
		}
		root, err := tlog.ParseHash(e.Text("root"))
		if err == nil && e.Number("size") > claim.Size {
			claim = Claim{Checkpoint: audit.Checkpoint{Origin: e.Text("origin"), Size: e.Number("size"), Root: root}}
		}
	}
	return claim, claim.Size > 0
}

// kindWithin is how far from the beginning of an entry its kind ends.
const kindWithin = 128

// ErrUnsigned says that nothing in a log is signed yet.
var ErrUnsigned = errors.New("nothing in it is signed yet")

// Exists reports whether there is a log below a folder.
func Exists(dir *os.Root) bool {
	_, err := dir.Lstat(LogName)
	return !errors.Is(err, fs.ErrNotExist)
}
