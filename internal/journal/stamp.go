package journal

import (
	"bytes"
	"io"
	"time"
)

// StampLayout is RFC 3339 in UTC with a fixed width, so that lines sort by it.
const StampLayout = "2006-01-02T15:04:05.000000000Z "

// maxHeld is how many bytes a Stamper keeps of other streams while a line is not finished; a chunk costs heldCost more.
const (
	maxHeld  = 256 << 10
	heldCost = 64
)

// Stamper writes chunks as lines, before each the time of its first byte. A line is what one stream printed up to its
// newline, in however many chunks: where streams got mixed inside of a line, each line is written in one piece, in the
// order in which the lines began. For that, what other streams print while a line is unfinished is kept back; when
// that is too much, or at Flush, the unfinished line is broken with a newline, and its rest comes as a further line
// with the same time. Nothing else is added or left out. For one goroutine.
type Stamper struct {
	w io.Writer

	open   Stream               // whose line is unfinished; AnyStream at the beginning of a line
	began  time.Time            // when it began
	broken map[Stream]time.Time // lines that were broken: when they began
	held   []Chunk              // what came of other streams since
	size   int                  // of held, in bytes, with heldCost

	prefix  []byte // the last one written
	stamped time.Time
}

// NewStamper returns a Stamper that writes many small pieces to w.
func NewStamper(w io.Writer) *Stamper {
	return &Stamper{w: w, broken: map[Stream]time.Time{}}
}

// Write writes a chunk, or keeps a copy of it.
func (s *Stamper) Write(c Chunk) error {
	for len(c.Data) > 0 {
		if s.open != AnyStream && s.open != c.Stream {
			return s.hold(c)
		}
		rest, err := s.writeLine(c)
		if err != nil {
			return err
		}
		c.Data = rest
		if s.open == AnyStream && len(s.held) > 0 {
			// What was kept began before the rest of c.
			if err := s.release(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flush writes what was kept back. Call it at the end, or when nothing more comes for now and somebody is looking.
func (s *Stamper) Flush() error {
	for len(s.held) > 0 {
		if err := s.breakLine(); err != nil {
			return err
		}
	}
	return nil
}

// writeLine writes c up to its first newline and returns the rest.
func (s *Stamper) writeLine(c Chunk) (rest []byte, err error) {
	if s.open == AnyStream {
		if err := s.begin(c); err != nil {
			return nil, err
		}
	}
	line := c.Data
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, rest = line[:i+1], line[i+1:]
		s.open = AnyStream
	}
	_, err = s.w.Write(line)
	return rest, err
}

// begin opens a line of c's stream.
func (s *Stamper) begin(c Chunk) error {
	s.open, s.began = c.Stream, c.Time
	if began, ok := s.broken[c.Stream]; ok {
		s.began = began
		delete(s.broken, c.Stream)
	}
	if s.prefix == nil || !s.stamped.Equal(s.began) {
		s.prefix = s.began.UTC().AppendFormat(s.prefix[:0], StampLayout)
		s.stamped = s.began
	}
	_, err := s.w.Write(s.prefix)
	return err
}

func (s *Stamper) hold(c Chunk) error {
	c.Data = bytes.Clone(c.Data)
	s.held = append(s.held, c)
	if s.size += len(c.Data) + heldCost; s.size > maxHeld {
		return s.breakLine()
	}
	return nil
}

// breakLine ends the unfinished line before its time, so that others get their turn.
func (s *Stamper) breakLine() error {
	if _, err := s.w.Write([]byte{'\n'}); err != nil {
		return err
	}
	s.broken[s.open] = s.began
	s.open = AnyStream
	return s.release()
}

// release writes what was kept, in its order; some of it may be kept again.
func (s *Stamper) release() error {
	held := s.held
	s.held, s.size = nil, 0
	for _, c := range held {
		if err := s.Write(c); err != nil {
			return err
		}
	}
	return nil
}
