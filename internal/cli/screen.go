package cli

import (
	"bytes"
	"fmt"
	"io"

	"moat/internal/api"
	"moat/internal/term"
)

// screen is the person's terminal while it shows a run's.
//
// What is there before is moved up into the terminal's own scrollback, so that the run's screen and this one are the
// same from the first row to the last; when the person leaves, the run's screen is taken away again.
type screen struct {
	out     io.Writer
	self    api.Terminal // how it is described to the supervisor, but for its size
	resized <-chan struct{}
	measure func() api.Size // now
	filter  *term.Filter
	allow   term.Options
	buf     []byte
	ours    bool // the run's screen is what the terminal shows
}

// describe is what the supervisor is told of the terminal.
func (sc *screen) describe() *api.Terminal {
	t := sc.self
	t.Size, t.Again = sc.measure(), sc.ours
	return &t
}

// sendSizes tells the supervisor when the terminal has a new size, until done is closed.
func (sc *screen) sendSizes(s *api.Stream, done <-chan struct{}) {
	for {
		select {
		case <-sc.resized:
			if s.Send(api.KindResize, api.Encode(sc.measure())) != nil {
				return // the one who receives notices
			}
		case <-done:
			return
		}
	}
}

// clear empties the screen row by row (ECMA-48: SGR, CUP, EL). Erasing it as a whole would make some terminals, tmux
// among them, keep what was there in their scrollback, where the next repaint would double it.
func (sc *screen) clear() {
	sc.buf = append(sc.buf, "\x1b[m"...)
	for row := range max(int(sc.measure().Rows), 1) {
		sc.buf = fmt.Appendf(sc.buf, "\x1b[%dH\x1b[2K", row+1)
	}
	sc.buf = append(sc.buf, "\x1b[H"...)
}

// begin prepares the terminal for a repaint: it is given back first, as if the run had never been shown.
func (sc *screen) begin() error {
	sc.buf = append(sc.buf[:0], sc.filter.Undo()...)
	if !sc.ours {
		// From row r this scrolls the r-1 rows above it off the screen, and nothing else.
		sc.buf = append(sc.buf, '\r')
		sc.buf = append(sc.buf, bytes.Repeat([]byte{'\n'}, max(int(sc.measure().Rows)-1, 0))...)
	}
	sc.clear()
	sc.ours = true
	sc.filter = term.NewFilter(sc.allow)
	return sc.flush()
}

// show prints what the run's terminal would get.
func (sc *screen) show(data []byte) error {
	sc.buf = sc.filter.Append(sc.buf[:0], data)
	return sc.flush()
}

// lead says whether this terminal answers the command's questions.
func (sc *screen) lead(on bool) {
	sc.allow.Queries = on
	sc.filter.SetOptions(sc.allow)
}

// end gives the terminal back. A run that goes on is taken off the screen; what one that ended has left stays there.
func (sc *screen) end(over bool) error {
	sc.buf = append(sc.buf[:0], sc.filter.Undo()...)
	if sc.ours && !over {
		sc.clear()
	}
	sc.filter = term.NewFilter(sc.allow)
	sc.ours = false
	return sc.flush()
}

func (sc *screen) flush() error {
	if len(sc.buf) == 0 {
		return nil
	}
	if _, err := sc.out.Write(sc.buf); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

// keyReader reads what a person types and takes out the commands to moat.
type keyReader struct {
	in      io.Reader
	keys    *term.Keys
	command func(term.Action) // told of each command, when all that was typed before it has been read

	buf  [4096]byte
	rest []byte // read and not yet looked at
	pass []byte // looked at and not yet returned
	next term.Action
}

// Read implements io.Reader.
func (k *keyReader) Read(p []byte) (int, error) {
	for {
		if len(k.pass) > 0 {
			n := copy(p, k.pass)
			k.pass = k.pass[n:]
			return n, nil
		}
		if k.next != term.None {
			action := k.next
			k.next = term.None
			k.command(action)
		}
		if len(k.rest) == 0 {
			n, err := k.in.Read(k.buf[:])
			if n == 0 && err != nil {
				return k.end(p, err)
			}
			k.rest = k.buf[:n]
		}
		k.pass, k.next, k.rest = k.keys.Feed(k.rest)
	}
}

// end returns what was held back, and then the error.
func (k *keyReader) end(p []byte, err error) (int, error) {
	if held := k.keys.End(); len(held) > 0 {
		k.pass = held
		return k.Read(p)
	}
	return 0, err
}
