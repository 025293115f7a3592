package journal

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"time"
)

// Reader reads a run's recorded output, also while it grows. It sees the whole records that were there when it was
// opened or last refreshed. It takes no locks and writes nothing. A Reader is for one goroutine; there may be any
// number of Readers.
type Reader struct {
	log, idx *os.File
	index    index
	end      int64
	written  bool
	torn     Recovery
}

// OpenReader opens the output in a run's folder for reading. The error is fs.ErrNotExist if the run has none, and
// ErrFormat or ErrDamaged as for OpenOutput. The caller closes the Reader; dir is not kept.
func OpenReader(dir *os.Root) (*Reader, error) {
	// In this order: a writer makes the output first, so whoever finds an index finds both.
	idx, err := openFile(dir, IndexName, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	log, err := openFile(dir, LogName, os.O_RDONLY)
	if err != nil {
		return nil, errors.Join(err, idx.Close())
	}
	r := &Reader{log: log, idx: idx, index: index{file: idx}}
	if err := r.settle(); err != nil {
		return nil, errors.Join(fmt.Errorf("read recorded output: %w", err), r.Close())
	}
	return r, nil
}

func (r *Reader) settle() error {
	e, torn, err := settle(r.idx, r.log)
	if err != nil {
		return err
	}
	r.index.count, r.end, r.written, r.torn = e.records, e.end, e.written, torn
	return nil
}

// Close closes the files.
func (r *Reader) Close() error { return errors.Join(r.log.Close(), r.idx.Close()) }

// End returns the offset at which the output that the Reader sees ends.
func (r *Reader) End() int64 { return r.end }

// Torn says what the Reader left out at the end when it was opened. While the run lives that may just be on its way.
func (r *Reader) Torn() Recovery { return r.torn }

// Refresh lets the Reader see what was appended since, and returns the new End.
func (r *Reader) Refresh() (int64, error) {
	if !r.written {
		err := r.settle()
		return r.end, err
	}
	idxSize, logSize, err := sizes(r.idx, r.log)
	if err != nil {
		return r.end, err
	}
	fresh := &index{file: r.idx, count: wholeRecords(idxSize)}
	if fresh.count <= r.index.count {
		return r.end, nil
	}
	e, err := trim(fresh, r.index.count, logSize)
	if err != nil {
		return r.end, err
	}
	if e.records > 0 {
		r.index.count, r.end = e.records, e.end
	}
	return r.end, nil
}

// Chunks goes through the output from offset from to offset to, both cut to what the Reader sees. The first and the
// last chunk are cut where from and to are inside of them. A chunk's Data is valid until the next one is asked for.
// Memory is bounded: at most 1 MiB, and less where from and to are close.
//
// It ends after the first error. A record or bytes that were changed are ErrDamaged.
func (r *Reader) Chunks(from, to int64) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		from, to := max(0, from), min(to, r.end)
		if from >= to {
			return
		}
		i, err := r.find(from)
		if err != nil {
			yield(Chunk{}, err)
			return
		}
		data := &window{file: r.log, limit: to}
		for next := int64(-1); next < to; i++ {
			c, end, err := r.chunk(i, next, data)
			if err != nil {
				yield(Chunk{}, err)
				return
			}
			next = end
			if c.cut(from, to); len(c.Data) > 0 && !yield(c, nil) {
				return
			}
		}
	}
}

// chunk reads record i, which must begin at next (any offset if that is negative), and returns its chunk, without
// data if it is not about output, and where it ends.
func (r *Reader) chunk(i, next int64, data *window) (Chunk, int64, error) {
	if i >= r.index.count {
		return Chunk{}, 0, fmt.Errorf("%w: %s ends before its output", ErrDamaged, IndexName)
	}
	rec, err := r.index.at(i)
	if err != nil {
		return Chunk{}, 0, err
	}
	if rec.end() > r.end || next >= 0 && rec.offset != next {
		return Chunk{}, 0, fmt.Errorf("%w: record %d of %s is out of place", ErrDamaged, i, IndexName)
	}
	c := Chunk{Time: rec.when(), Stream: rec.stream, Offset: rec.offset}
	if rec.kind != kindOutput {
		return c, rec.end(), nil
	}
	if c.Data, err = data.read(rec); err != nil {
		return Chunk{}, 0, err
	}
	if checksum(c.Data) != rec.value {
		return Chunk{}, 0, fmt.Errorf("%w: bytes %d to %d of %s", ErrDamaged, rec.offset, rec.end(), LogName)
	}
	return c, rec.end(), nil
}

// cut leaves of c what is between from and to.
func (c *Chunk) cut(from, to int64) {
	if c.End() > to {
		c.Data = c.Data[:max(0, to-c.Offset)]
	}
	if c.Offset < from {
		c.Data = c.Data[min(from-c.Offset, int64(len(c.Data))):]
		c.Offset = from
	}
}

// find returns the record that holds the byte at off.
func (r *Reader) find(off int64) (int64, error) {
	return r.index.search(func(rec record) bool { return rec.end() > off })
}

// SinceOffset returns where the first chunk that came at t or later begins: End if there is none.
func (r *Reader) SinceOffset(t time.Time) (int64, error) {
	i, err := r.index.search(func(rec record) bool { return !rec.when().Before(t) })
	if err != nil || i == r.index.count {
		return r.end, err
	}
	rec, err := r.index.at(i)
	return rec.offset, err
}
