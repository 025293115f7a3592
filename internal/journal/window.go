package journal

import (
	"fmt"
	"io"
)

// readSize is how many bytes of output are read at a time, unless a chunk is larger.
const readSize = 256 << 10

// window reads the output of records that follow one another, many of them with one system call.
type window struct {
	file  io.ReaderAt
	limit int64 // offset at which nobody wants more

	buf   []byte
	start int64 // offset of the buffer's first byte
}

// read returns the bytes of r, which are valid until the next call.
func (w *window) read(r record) ([]byte, error) {
	if r.offset < w.start || r.end() > w.start+int64(len(w.buf)) {
		if err := w.fill(r); err != nil {
			return nil, err
		}
	}
	return w.buf[r.offset-w.start:][:r.length], nil
}

func (w *window) fill(r record) error {
	size := int(max(int64(r.length), min(readSize, w.limit-r.offset)))
	if cap(w.buf) < size {
		w.buf = make([]byte, size)
	}
	w.buf = w.buf[:size]
	if n, err := w.file.ReadAt(w.buf, r.offset); n < size {
		w.buf = w.buf[:0]
		if err == io.EOF {
			return fmt.Errorf("%w: %s ends at %d, its index goes on", ErrDamaged, LogName, r.offset+int64(n))
		}
		return fmt.Errorf("read %s: %w", LogName, err)
	}
	w.start = r.offset
	return nil
}
