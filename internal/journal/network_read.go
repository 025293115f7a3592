package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
)

// NetworkReader reads a run's network record, also while it grows. It takes no locks and writes nothing. It is for one
// goroutine; there may be any number of them. It keeps eight bytes for each request, and never the records themselves.
//
// What is in the records was chosen by the sandbox. Escape it before it goes to a terminal.
type NetworkReader struct {
	file    *os.File
	at      []int64 // by ID: 1 + the offset of the record that counts; 0: there is none
	scanned int64   // offset to which at is about
	damaged int64
	block   []byte // what was read last, from blockAt on
	blockAt int64
}

// OpenNetworkReader opens the network record in a run's folder for reading. The error is fs.ErrNotExist if the run has
// none. The caller closes the NetworkReader; dir is not kept.
func OpenNetworkReader(dir *os.Root) (*NetworkReader, error) {
	f, err := dir.OpenFile(NetworkName, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open network record: %w", err)
	}
	return &NetworkReader{file: f}, nil
}

// Close closes the file.
func (r *NetworkReader) Close() error { return r.file.Close() }

// Damaged is how many lines were met so far that cannot be read.
func (r *NetworkReader) Damaged() int64 { return r.damaged }

// Requests goes through what is recorded now, each request once, in the order in which they began. One that is not
// complete has no duration. It ends after the first error; damaged lines are none.
func (r *NetworkReader) Requests() iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		if err := r.scan(nil); err != nil {
			yield(Request{}, err)
			return
		}
		for id, at := range r.at {
			if at == 0 {
				continue
			}
			req, ok, err := r.read(at - 1)
			if err != nil {
				yield(Request{}, err)
				return
			}
			if !ok || req.ID != uint64(id) {
				r.damaged++
				continue
			}
			if !yield(req, nil) {
				return
			}
		}
	}
}

// Follow goes through what is recorded, and then through what comes, each request once when it is complete: first as
// Requests does, then in the order of their ends. wait blocks until there may be news, and returns false when this is
// the last of it. What is not complete then comes at the end.
func (r *NetworkReader) Follow(wait func() bool) iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		pending := map[uint64]int64{} // offsets of what was begun
		goOn := true
		one := func(req Request, at int64) {
			if req.DurationMS == nil {
				pending[req.ID] = at
				return
			}
			delete(pending, req.ID)
			goOn = goOn && yield(req, nil)
		}
		for req, err := range r.Requests() {
			if err != nil {
				yield(req, err)
				return
			}
			if one(req, r.at[req.ID]-1); !goOn {
				return
			}
		}
		for more := true; more; {
			more = wait()
			err := r.scan(one)
			if err != nil && goOn {
				yield(Request{}, err)
			}
			if err != nil || !goOn {
				return
			}
		}
		for _, id := range slices.Sorted(maps.Keys(pending)) {
			req, ok, err := r.read(pending[id])
			if ok || err != nil {
				if !yield(req, err) || err != nil {
					return
				}
			}
		}
	}
}

// scan takes in the lines that came since the last time, and gives each record to each, if there is one.
func (r *NetworkReader) scan(each func(req Request, at int64)) error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("read network record: %w", err)
	}
	if info.Size() == r.scanned {
		return nil
	}
	found := func(id uint64, at int64, line []byte) {
		if each != nil {
			req, ok := decodeLine(line)
			if !ok {
				r.damaged++
				return
			}
			each(req, at)
		}
		for uint64(len(r.at)) <= id {
			r.at = append(r.at, 0)
		}
		r.at[id] = at + 1
	}
	r.scanned, err = scanRecords(r.file, r.scanned, found, func() { r.damaged++ })
	return err
}

func decodeLine(line []byte) (req Request, ok bool) {
	err := json.Unmarshal(line, &req)
	return req, err == nil
}

// read returns the record that begins at an offset; ok is false if it is damaged.
func (r *NetworkReader) read(at int64) (req Request, ok bool, err error) {
	line := r.held(at)
	for size := int64(readSize); line == nil; size *= 4 {
		if size > 4*maxLine {
			return Request{}, false, nil
		}
		if err := r.fill(at, size); err != nil {
			return Request{}, false, err
		}
		line = r.held(at)
		if line == nil && int64(len(r.block)) < size {
			return Request{}, false, nil // the file ends within it
		}
	}
	req, ok = decodeLine(line)
	return req, ok, nil
}

// held returns the line at an offset if the block has all of it.
func (r *NetworkReader) held(at int64) []byte {
	if at < r.blockAt || at >= r.blockAt+int64(len(r.block)) {
		return nil
	}
	line, _, whole := bytes.Cut(r.block[at-r.blockAt:], []byte("\n"))
	if !whole {
		return nil
	}
	return line
}

// fill reads a block.
func (r *NetworkReader) fill(at, size int64) error {
	if int64(cap(r.block)) < size {
		r.block = make([]byte, size)
	}
	n, err := r.file.ReadAt(r.block[:size], at)
	r.block, r.blockAt = r.block[:n], at
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read network record: %w", err)
	}
	return nil
}
