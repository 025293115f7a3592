package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The index on disk; docs/formats.md describes it.
const (
	magic       = "moat-idx"
	version     = 1
	headerSize  = 32
	recordSize  = 32
	sumPosition = recordSize - 4
)

// kind says what a record describes.
type kind uint8

const (
	kindOutput     kind = 1 // value: CRC of the bytes
	kindCheckpoint kind = 2 // value: how many records directly before it are not known to be on the disk
	kindResize     kind = 3 // value: rows and columns of the terminal, 16 bits each
)

// record is one entry of the index.
type record struct {
	time   int64 // nanoseconds since 1970, UTC
	offset int64
	length uint32
	kind   kind
	stream Stream
	value  uint32
}

func (r record) end() int64         { return r.offset + int64(r.length) }
func (r record) when() time.Time    { return time.Unix(0, r.time).UTC() }
func position(record int64) int64   { return headerSize + record*recordSize }
func checksum(b []byte) uint32      { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
func wholeRecords(size int64) int64 { return max(0, size-headerSize) / recordSize }

// nanoseconds returns t as records have it: 0, which no record goes back to, where 64 bits do not reach.
func nanoseconds(t time.Time) int64 {
	if year := t.UTC().Year(); year < 1970 || year > 2261 {
		return 0
	}
	return t.UnixNano()
}

// put writes the record as it is on disk into the recordSize bytes of b.
func (r record) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(r.time))
	le.PutUint64(b[8:], uint64(r.offset))
	le.PutUint32(b[16:], r.length)
	b[20] = byte(r.kind)
	b[21] = byte(r.stream)
	le.PutUint16(b[22:], 0)
	le.PutUint32(b[24:], r.value)
	le.PutUint32(b[sumPosition:], checksum(b[:sumPosition]))
}

// decode reads a record from its recordSize bytes. ok is false if it cannot have been written by put of this or a later
// version.
func decode(b []byte) (r record, ok bool) {
	le := binary.LittleEndian
	if checksum(b[:sumPosition]) != le.Uint32(b[sumPosition:]) {
		return record{}, false
	}
	r = record{
		time:   int64(le.Uint64(b[0:])),
		offset: int64(le.Uint64(b[8:])),
		length: le.Uint32(b[16:]),
		kind:   kind(b[20]),
		stream: Stream(b[21]),
		value:  le.Uint32(b[24:]),
	}
	switch {
	case r.offset < 0 || r.end() < 0 || r.kind == 0:
		return record{}, false
	case r.kind == kindOutput:
		return r, r.length > 0 && r.length <= MaxChunk && r.stream != AnyStream
	}
	return r, r.length == 0
}

// encodeHeader returns the beginning of every index.
func encodeHeader() (b [headerSize]byte) {
	copy(b[:], magic)
	binary.LittleEndian.PutUint16(b[8:], version)
	binary.LittleEndian.PutUint16(b[10:], recordSize)
	binary.LittleEndian.PutUint32(b[headerSize-4:], checksum(b[:headerSize-4]))
	return b
}

// checkHeader says whether an index that begins with b was ever written. Only a header that a crash explains (cut
// short, or never on the disk) counts as not written; another one is an error.
func checkHeader(b []byte) (written bool, err error) {
	if len(b) < headerSize || [headerSize]byte(b) == [headerSize]byte{} {
		return false, nil
	}
	if [headerSize]byte(b) == encodeHeader() {
		return true, nil
	}
	if string(b[:len(magic)]) == magic && checksum(b[:headerSize-4]) == binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return false, fmt.Errorf("%w: it has version %d, this program knows %d",
			ErrFormat, binary.LittleEndian.Uint16(b[8:]), version)
	}
	return false, fmt.Errorf("%w: wrong header", ErrFormat)
}
