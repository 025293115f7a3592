package journal

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// CopyOptions says what CopyTo copies and how. The zero value is nothing: To is where it ends.
type CopyOptions struct {
	From, To   int64  // offsets; what lies outside of the output that the Reader sees is left out
	Stream     Stream // only this one, unless AnyStream
	Timestamps bool   // as a Stamper writes them
}

// CopyTo copies output to w and returns how many bytes it wrote. Without a stream and timestamps these are the bytes
// of the file, at the speed of the system and without a look at the index; otherwise chunks are checked as by Chunks.
func (r *Reader) CopyTo(w io.Writer, opts CopyOptions) (int64, error) {
	from, to := max(0, opts.From), min(opts.To, r.end)
	if from >= to {
		return 0, nil
	}
	if opts.Stream == AnyStream && !opts.Timestamps {
		n, err := copyRange(w, r.log, from, to-from)
		if err != nil {
			return n, fmt.Errorf("copy recorded output: %w", err)
		}
		return n, nil
	}
	counted := &countingWriter{w: w}
	out := bufio.NewWriterSize(counted, 64<<10)
	err := r.copyChunks(out, from, to, opts)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return counted.n, fmt.Errorf("copy recorded output: %w", err)
	}
	return counted.n, nil
}

func (r *Reader) copyChunks(out io.Writer, from, to int64, opts CopyOptions) error {
	write := func(c Chunk) error {
		_, err := out.Write(c.Data)
		return err
	}
	stamper := NewStamper(out)
	if opts.Timestamps {
		write = stamper.Write
	}
	for c, err := range r.Chunks(from, to) {
		if err != nil {
			return err
		}
		if opts.Stream != AnyStream && c.Stream != opts.Stream {
			continue
		}
		if err := write(c); err != nil {
			return err
		}
	}
	return stamper.Flush()
}

// copyRange copies n bytes of src from offset off: inside of the kernel where that is possible.
func copyRange(w io.Writer, src *os.File, off, n int64) (int64, error) {
	written, err := sendRange(w, src, off, n)
	if written == n || err != nil {
		return written, err
	}
	buf := make([]byte, min(readSize, n))
	for written < n {
		block := buf[:min(int64(len(buf)), n-written)]
		if got, err := src.ReadAt(block, off+written); got < len(block) {
			return written, fmt.Errorf("read %s: %w", src.Name(), err)
		}
		m, err := w.Write(block)
		written += int64(m)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
