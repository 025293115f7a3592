package session

import (
	"iter"
	"time"

	"moat/internal/journal"
	"moat/internal/vt"
)

// slice is how much output the model is fed before its lines are taken: fewer lines than it keeps can come of it.
const slice = 4 << 10

// Line is one line of text that a run's terminal showed: what scrolled off its main screen, and in the end what was on it.
type Line struct {
	Text []byte    // without the line's end; valid until the next line
	Time time.Time // of the output that moved it off the screen
}

// Lines turns a tape into the text that a person would have read, line by line, however it was drawn.
func Lines(tape iter.Seq2[journal.Step, error]) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r := &reader{vt: vt.New(DefaultCols, DefaultRows, vt.Options{}), yield: yield}
		r.vt.SetAnswering(false)
		for step, err := range tape {
			if err != nil {
				yield(Line{}, err)
				return
			}
			if !r.step(step) {
				return
			}
		}
		r.screen()
	}
}

type reader struct {
	vt    *vt.Terminal
	taken uint64 // lines that have been taken from the scrollback
	text  []byte // of a line that goes on in the next row
	at    time.Time
	yield func(Line, error) bool
}

func (r *reader) step(step journal.Step) bool {
	r.at = step.Time
	if step.Size != nil {
		r.vt.Resize(int(step.Size.Cols), int(step.Size.Rows))
		kept, dropped := r.vt.ScrollbackLen() // lines were joined or cut anew: go on with those that come
		r.taken = dropped + uint64(kept)
		return true
	}
	for data := step.Data; len(data) > 0; {
		n := min(len(data), slice)
		_, _ = r.vt.Write(data[:n])
		data = data[n:]
		if !r.scrolled() {
			return false
		}
	}
	return true
}

// scrolled yields the lines that have scrolled off since.
func (r *reader) scrolled() bool {
	kept, dropped := r.vt.ScrollbackLen()
	for ; r.taken < dropped+uint64(kept); r.taken++ {
		if r.taken < dropped {
			continue
		}
		var wrapped bool
		r.text, wrapped = r.vt.AppendScrollback(r.text, int(r.taken-dropped))
		if !wrapped && !r.line() {
			return false
		}
	}
	return true
}

// screen yields what is on the screen, down to its last line that is not empty.
func (r *reader) screen() {
	_, rows := r.vt.Size()
	var lines [][]byte
	for y := range rows {
		text, wrapped := r.vt.AppendLine(r.text, y)
		r.text = text
		if !wrapped {
			lines = append(lines, append([]byte(nil), r.text...))
			r.text = r.text[:0]
		}
	}
	for len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	for _, text := range lines {
		r.text = text
		if !r.line() {
			return
		}
	}
}

func (r *reader) line() bool {
	ok := r.yield(Line{Text: r.text, Time: r.at}, nil)
	r.text = r.text[:0]
	return ok
}
