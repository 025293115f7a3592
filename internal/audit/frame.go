package audit

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Magic begins every log on disk.
const Magic = "moat-audit/1\n"

// FrameKind says what a frame of a log on disk holds.
type FrameKind byte

// The kinds.
const (
	FrameEntry      FrameKind = 'e' // an encoded entry
	FrameCheckpoint FrameKind = 'c' // the edge of the tree, and a signed checkpoint of everything before it
)

// A frame is length of the payload (32 bits, big-endian), CRC-32C of kind and payload, kind, payload, and the length again,
// so that the end of a file can be read backwards.
const (
	frameHead = 9
	frameTail = 4
	// FrameSize is what a frame takes besides its payload.
	FrameSize = frameHead + frameTail
	maxFrame  = MaxEntry
)

// ErrTorn says that bytes end within a frame; ErrFrame that they are none.
var (
	ErrTorn  = errors.New("the record ends within an entry")
	ErrFrame = errors.New("bytes are damaged")
)

// AppendFrame appends a frame.
func AppendFrame(dst []byte, kind FrameKind, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.BigEndian.AppendUint32(dst, frameSum(kind, payload))
	dst = append(append(dst, byte(kind)), payload...)
	return binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
}

func frameSum(kind FrameKind, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte{byte(kind)}, table), table, payload)
}

// Frame reads the first frame of data: its kind, payload and size in all. The payload is part of data.
func Frame(data []byte) (kind FrameKind, payload []byte, size int, err error) {
	if len(data) < frameHead {
		return 0, nil, 0, ErrTorn
	}
	n := binary.BigEndian.Uint32(data)
	if n > maxFrame {
		return 0, nil, 0, ErrFrame
	}
	size = int(n) + FrameSize
	if len(data) < size {
		return 0, nil, size, ErrTorn
	}
	kind, payload = FrameKind(data[8]), data[frameHead:size-frameTail]
	if binary.BigEndian.Uint32(data[4:]) != frameSum(kind, payload) || binary.BigEndian.Uint32(data[size-frameTail:]) != n {
		return 0, nil, 0, ErrFrame
	}
	if kind != FrameEntry && kind != FrameCheckpoint {
		return 0, nil, 0, ErrFrame
	}
	return kind, payload, size, nil
}

// LastFrame is how many bytes the last frame of data takes, going by its end; false if that cannot be.
func LastFrame(tail []byte) (size int, ok bool) {
	if len(tail) < frameTail {
		return 0, false
	}
	n := binary.BigEndian.Uint32(tail[len(tail)-frameTail:])
	return int(n) + FrameSize, n <= maxFrame
}

// MaxFrameSize is the most bytes that a frame takes.
const MaxFrameSize = maxFrame + FrameSize

// AppendCheckpoint appends the payload of a checkpoint's frame.
func AppendCheckpoint(dst []byte, edge []Hash, signed []byte) []byte {
	dst = append(dst, byte(len(edge)))
	for _, h := range edge {
		dst = append(dst, h[:]...)
	}
	return append(dst, signed...)
}

// SplitCheckpoint is the reverse of AppendCheckpoint.
func SplitCheckpoint(payload []byte) (edge []Hash, signed []byte, err error) {
	if len(payload) == 0 || len(payload) < 1+len(Hash{})*int(payload[0]) {
		return nil, nil, ErrCheckpoint
	}
	n, rest := int(payload[0]), payload[1:]
	for range n {
		edge = append(edge, Hash(rest))
		rest = rest[len(Hash{}):]
	}
	return edge, rest, nil
}
