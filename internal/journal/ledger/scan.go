package ledger

import (
	"errors"
	"fmt"
	"io"

	"moat/internal/audit"
)

// How much of a log is read at once: first, and when there is more.
const (
	scanFirst = 16 << 10
	scanSize  = 4 * audit.MaxFrameSize
)

// scanner goes through the frames of a log.
type scanner struct {
	in   io.ReaderAt
	at   int64  // of the next frame
	data []byte // read and not yet used
	read int64  // offset behind data
	buf  []byte
}

func newScanner(in io.ReaderAt) *scanner { return &scanner{in: in, buf: make([]byte, scanFirst)} }

// next returns a frame, which is valid until the next call. Errors are io.EOF, audit.ErrTorn, audit.ErrFrame, and those of
// the file; after one, at is where the log is not whole.
func (s *scanner) next() (audit.FrameKind, []byte, error) {
	if s.at == 0 {
		if err := s.fill(); err != nil {
			return 0, nil, err
		}
		if len(s.data) < len(audit.Magic) {
			return 0, nil, audit.ErrTorn
		}
		if string(s.data[:len(audit.Magic)]) != audit.Magic {
			return 0, nil, audit.ErrFrame
		}
		s.use(len(audit.Magic))
	}
	kind, payload, size, err := audit.Frame(s.data)
	if errors.Is(err, audit.ErrTorn) {
		if ferr := s.fill(); ferr != nil {
			return 0, nil, ferr
		}
		if len(s.data) == 0 {
			return 0, nil, io.EOF
		}
		kind, payload, size, err = audit.Frame(s.data)
	}
	if err != nil {
		return 0, nil, err
	}
	s.use(size)
	return kind, payload, nil
}

func (s *scanner) use(n int) {
	s.data = s.data[n:]
	s.at += int64(n)
}

// fill reads on until the buffer is full or the file ends.
func (s *scanner) fill() error {
	if s.read == scanFirst {
		s.buf = make([]byte, scanSize)
	}
	n := copy(s.buf, s.data)
	m, err := s.in.ReadAt(s.buf[n:], s.read)
	s.read += int64(m)
	s.data = s.buf[:n+m]
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the audit record: %w", err)
	}
	return nil
}
