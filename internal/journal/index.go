package journal

import (
	"fmt"
	"io"
	"sort"
)

// blockRecords is how many records are read at a time (64 KiB).
const blockRecords = 2048

// index reads the records of a file and keeps the block that it read last, so that going through them in either
// direction costs one system call a block. For one goroutine.
type index struct {
	file  io.ReaderAt
	count int64 // records that may be asked for

	block []byte
	first int64 // the block's first record
}

// at returns record i, 0 ≤ i < count. A record that does not decode is ErrDamaged.
func (x *index) at(i int64) (record, error) {
	b, err := x.bytes(i)
	if err != nil {
		return record{}, err
	}
	r, ok := decode(b)
	if !ok {
		return record{}, fmt.Errorf("%w: record %d of %s", ErrDamaged, i, IndexName)
	}
	return r, nil
}

// bytes returns the bytes of record i.
func (x *index) bytes(i int64) ([]byte, error) {
	if held := int64(len(x.block) / recordSize); i < x.first || i >= x.first+held {
		if err := x.load(i); err != nil {
			return nil, err
		}
	}
	return x.block[(i-x.first)*recordSize:][:recordSize], nil
}

// load reads the block that begins with record i, or ends with it when the records are gone through backwards.
func (x *index) load(i int64) error {
	first, after := i, min(x.count, i+blockRecords)
	if i < x.first {
		first, after = max(0, i+1-blockRecords), i+1
	}
	size := int((after - first) * recordSize)
	if cap(x.block) < size {
		x.block = make([]byte, size)
	}
	x.block = x.block[:size]
	if n, err := x.file.ReadAt(x.block, position(first)); n < size {
		x.block = x.block[:0]
		return fmt.Errorf("read %s: %w", IndexName, err)
	}
	x.first = first
	return nil
}

// search returns the first record for which is holds, or count. Once it holds, it must hold for all that follow.
func (x *index) search(is func(record) bool) (int64, error) {
	var failed error
	i := sort.Search(int(x.count), func(i int) bool {
		r, err := x.at(int64(i))
		if err != nil {
			failed = err
		}
		return err != nil || is(r)
	})
	return int64(i), failed
}
