package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxCut is the most output that a writer cuts off: twice what may be unsynced. More than that no crash explains.
const maxCut = 2 * maxUnsynced

// Recovery says what of the files is no whole record: torn by a crash, or on the way to the disk when it happened.
type Recovery struct {
	At      int64     // offset at which the recorded output ends
	Time    time.Time // of the last record; zero if there is none
	Records int64     // whole records that were dropped
	Index   int64     // bytes that were dropped from the index, those records among them
	Output  int64     // bytes that were dropped from the output
}

// Torn reports whether anything was dropped.
func (r Recovery) Torn() bool { return r.Index > 0 || r.Output > 0 }

// extent is the part of the files that is whole.
type extent struct {
	records int64
	end     int64 // bytes of output
	last    int64 // time of the last record
	written bool  // the index has its header
	pending int64 // bytes of output that no checkpoint vouches for
}

// settle finds the whole part of the two files by the rules of docs/formats.md, without writing.
func settle(idx, log *os.File) (extent, Recovery, error) {
	idxSize, logSize, err := sizes(idx, log)
	if err != nil {
		return extent{}, Recovery{}, err
	}
	var header [headerSize]byte
	n, err := idx.ReadAt(header[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return extent{}, Recovery{}, fmt.Errorf("read %s: %w", IndexName, err)
	}
	written, err := checkHeader(header[:n])
	if err != nil {
		return extent{}, Recovery{}, err
	}
	if !written {
		return extent{}, Recovery{Records: wholeRecords(idxSize), Index: idxSize, Output: logSize}, nil
	}

	x := &index{file: idx, count: wholeRecords(idxSize)}
	e, err := trim(x, 0, logSize)
	if err != nil {
		return extent{}, Recovery{}, err
	}
	if e, err = verify(x, log, e); err != nil {
		return extent{}, Recovery{}, err
	}
	e.written = true
	cut := Recovery{
		At:      e.end,
		Records: wholeRecords(idxSize) - e.records,
		Index:   idxSize - position(e.records),
		Output:  logSize - e.end,
	}
	if e.records > 0 {
		cut.Time = record{time: e.last}.when()
	}
	return e, cut, nil
}

// sizes measures the index first: the bytes of a record that is there are there too.
func sizes(idx, log *os.File) (idxSize, logSize int64, err error) {
	i, err := idx.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("measure %s: %w", IndexName, err)
	}
	l, err := log.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("measure %s: %w", LogName, err)
	}
	return i.Size(), l.Size(), nil
}

// trim drops records from the end, down to record low, that do not decode or whose output is not all there.
func trim(x *index, low, logSize int64) (extent, error) {
	for n := x.count; n > low; n-- {
		b, err := x.bytes(n - 1)
		if err != nil {
			return extent{}, err
		}
		if r, ok := decode(b); ok && r.end() <= logSize {
			return extent{records: n, end: r.end(), last: r.time}, nil
		}
	}
	return extent{}, nil
}

// verify checks the records that the last checkpoint does not vouch for, and cuts e at the first wrong one.
func verify(x *index, log io.ReaderAt, e extent) (extent, error) {
	first, err := vouched(x, e.records)
	if err != nil {
		return extent{}, err
	}
	good := extent{records: first}
	if first > 0 {
		r, err := x.at(first - 1)
		if err != nil {
			return extent{}, err
		}
		if r.end() > e.end {
			return extent{}, fmt.Errorf("%w: record %d of %s is out of place", ErrDamaged, first-1, IndexName)
		}
		good.end, good.last = r.end(), r.time
	}
	start := good.end
	data := window{file: log, limit: e.end}
	for good.records < e.records {
		b, err := x.bytes(good.records)
		if err != nil {
			return extent{}, err
		}
		r, ok := decode(b)
		if !ok || r.offset != good.end || r.time < good.last || r.end() > e.end {
			break
		}
		if r.kind == kindOutput {
			bytes, err := data.read(r)
			if err != nil {
				return extent{}, err
			}
			if checksum(bytes) != r.value {
				break
			}
		}
		good = extent{records: good.records + 1, end: r.end(), last: r.time, pending: r.end() - start}
	}
	return good, nil
}

// vouched returns how many of the first n records the last checkpoint among them says to be on the disk.
func vouched(x *index, n int64) (int64, error) {
	for i := n - 1; i >= 0; i-- {
		b, err := x.bytes(i)
		if err != nil {
			return 0, err
		}
		if r, ok := decode(b); ok && r.kind == kindCheckpoint {
			return max(0, i-int64(r.value)), nil
		}
	}
	return 0, nil
}
