package session

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"
	"unicode/utf8"

	"moat/internal/journal"
)

// CastVersion is a version of the asciicast format.
type CastVersion int

// Versions of asciicast (docs.asciinema.org/manual/asciicast). The third one knows exits; more players know the second.
const (
	CastV2 CastVersion = 2
	CastV3 CastVersion = 3
)

// Cast says what a recording is of.
type Cast struct {
	Version CastVersion
	Title   string
	Command string
	Term    string     // TERM of the command
	Started time.Time  // when the command was started
	Ended   *time.Time // nil while it runs
	Exit    *int       // nil if unknown
}

// WriteCast writes the tape as an asciicast to w. Output is text there: bytes that are no UTF-8 become U+FFFD.
func WriteCast(w io.Writer, cast Cast, tape iter.Seq2[journal.Step, error]) error {
	c := castWriter{out: bufio.NewWriter(w), version: cast.Version, last: cast.Started, begun: cast.Started}
	size := journal.Size{Rows: DefaultRows, Cols: DefaultCols}
	headed := false
	for step, err := range tape {
		if err != nil {
			return err
		}
		if !headed {
			if step.Size != nil {
				size = *step.Size
			}
			c.header(cast, size)
			headed = true
			if step.Size != nil {
				continue
			}
		}
		c.step(step)
	}
	if !headed {
		c.header(cast, size)
	}
	c.end(cast)
	if c.err == nil {
		c.err = c.out.Flush()
	}
	if c.err != nil {
		return fmt.Errorf("write recording: %w", c.err)
	}
	return nil
}

type castWriter struct {
	out         *bufio.Writer
	version     CastVersion
	begun, last time.Time
	rest        []byte // the beginning of a character whose end has not come
	err         error
}

// header is the recording's first line.
func (c *castWriter) header(cast Cast, size journal.Size) {
	h := map[string]any{"version": c.version, "timestamp": cast.Started.Unix(), "title": cast.Title, "command": cast.Command}
	if c.version == CastV3 {
		h["term"] = map[string]any{"cols": size.Cols, "rows": size.Rows, "type": cast.Term}
	} else {
		h["width"], h["height"], h["env"] = size.Cols, size.Rows, map[string]string{"TERM": cast.Term}
	}
	c.line(h)
}

func (c *castWriter) step(step journal.Step) {
	if step.Size != nil {
		c.event(step.Time, "r", fmt.Sprintf("%dx%d", step.Size.Cols, step.Size.Rows))
		return
	}
	data := append(c.rest, step.Data...)
	n := wholeRunes(data)
	if n > 0 {
		c.event(step.Time, "o", string(data[:n]))
	}
	c.rest = append([]byte(nil), data[n:]...)
}

// wholeRunes is how much of b does not end within a character.
func wholeRunes(b []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if i := len(b) - back; utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

// end writes what is left, and how the command ended.
func (c *castWriter) end(cast Cast) {
	if len(c.rest) > 0 {
		c.event(c.last, "o", string(c.rest))
	}
	if cast.Ended == nil || cast.Exit == nil {
		return
	}
	if c.version == CastV3 {
		c.event(*cast.Ended, "x", fmt.Sprint(*cast.Exit))
	} else {
		c.event(*cast.Ended, "m", fmt.Sprintf("exit %d", *cast.Exit)) // a marker: version 2 has nothing better
	}
}

// event writes one event. Version 2 counts seconds from the beginning, version 3 from the event before.
func (c *castWriter) event(at time.Time, code, data string) {
	if at.Before(c.last) {
		at = c.last
	}
	since := c.begun
	if c.version == CastV3 {
		since = c.last
	}
	c.last = at
	c.line([]any{json.Number(fmt.Sprintf("%.6f", at.Sub(since).Seconds())), code, data})
}

func (c *castWriter) line(v any) {
	if c.err != nil {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		c.err = err
		return
	}
	_, c.err = c.out.Write(append(text, '\n'))
}
