// Package journal keeps a run's records on disk, as docs/formats.md describes them: what the command printed ([Output]), and
// what it exchanged with the network ([Network]).
//
// It promises that a piece of output or a request is recorded whole or not at all; that what a crash tore is recognised
// and cut back to the last whole piece; that a failed write (disk full) changes nothing and can be repeated; that readers
// need no lock, never write, and use memory that does not grow with the record (with the network's by 8 bytes a request).
//
// It leaves to its callers that there is one writer (the run's lock), what to do when the disk is full, and how
// readers in other processes learn of news.
package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Names of the two files in a run's folder.
const (
	LogName   = "output.log"
	IndexName = "output.idx"
)

// MaxChunk is the most bytes that one Chunk may hold.
const MaxChunk = 1 << 20

// Stream says where output came from.
type Stream uint8

// The streams. Their values are part of the format on disk.
const (
	AnyStream Stream = iota // as a filter: all of them; never recorded
	Stdout
	Stderr
	Terminal // the one stream of a TTY
)

// String returns the stream's name as the command line spells it.
func (s Stream) String() string {
	switch s {
	case AnyStream:
		return "any"
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	case Terminal:
		return "terminal"
	}
	return fmt.Sprintf("stream(%d)", uint8(s))
}

// Chunk is a piece of output as it came: its end need not be the end of a line or of a character.
type Chunk struct {
	Time   time.Time // of its first byte
	Stream Stream
	Offset int64 // number of its first byte among all output of the run, from 0
	Data   []byte
}

// End is the offset of the byte after the chunk.
func (c Chunk) End() int64 { return c.Offset + int64(len(c.Data)) }

var (
	// ErrNoSpace says that the disk is full, or the quota or a limit on the size of files is reached.
	ErrNoSpace = errors.New("no space left for output")
	// ErrOffset says that a chunk does not begin where the recorded output ends.
	ErrOffset = errors.New("chunk is not the next one")
	// ErrInvalid says that a chunk cannot be recorded: too large, or without a stream.
	ErrInvalid = errors.New("invalid chunk")
	// ErrFormat says that a file is not an index of output, or of a version that this program does not know.
	ErrFormat = errors.New("not an output index of a known version")
	// ErrDamaged says that a record, or the bytes that it describes, changed after they were written.
	ErrDamaged = errors.New("output record is damaged")
)

// writeError adds what was attempted and, where it applies, ErrNoSpace to an error of the operating system.
func writeError(what string, err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("%s: %w: %w", what, ErrNoSpace, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// openFile opens one of the two files; it is never a link's target and has mode 0600.
func openFile(dir *os.Root, name string, flag int) (*os.File, error) {
	f, err := dir.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open recorded output: %w", err)
	}
	return f, nil
}
