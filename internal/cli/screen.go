package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"moat/internal/api"
	"moat/internal/term"
)

// screen is the person's terminal while it shows a run's.
//
// What is there before is moved up into the terminal's own scrollback, so that the run's screen and this one are the
// same from the first row to the last; when the person leaves, the run's screen is taken away again.
type screen struct {
	tty    *term.Terminal
	out    io.Writer    // tty when it is raw, the file behind it otherwise
	self   api.Terminal // how it is described to the supervisor, but for its size
	filter *term.Filter
	allow  term.Options
	buf    []byte
	ours   bool            // the run's screen is what the terminal shows
	left   <-chan struct{} // closed when the person has left; nil: they cannot
	minder *time.Timer     // starts it; nil: there is none, or it was told to
	paint  int             // bytes of a repaint that are still to come
}

// openScreen prepares to show a terminal on the person's: nil if they have none that can be read and written. The caller
// closes it. allow is what programs may do to it beyond what is always allowed.
func (app *App) openScreen(noScrollback bool, allow term.Options) (*screen, error) {
	out, ok := app.Out.(*os.File)
	if !ok {
		return nil, nil
	}
	tty, err := term.Open(app.In, out)
	if errors.Is(err, term.ErrNotTerminal) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	allow.KeepScrollback = true
	return &screen{
		tty: tty, out: out, allow: allow, filter: term.NewFilter(allow),
		self: api.Terminal{Key: terminalKey(app.In), NoScrollback: noScrollback},
	}, nil
}

// close gives the terminal back, whatever it shows.
func (sc *screen) close() error { return sc.tty.Close() }

// makeRaw lets every key through as it is typed.
func (sc *screen) makeRaw() error {
	if err := sc.tty.MakeRaw(); err != nil {
		return err
	}
	sc.out = sc.tty
	return nil
}

// mindSoon sees to it that a raw terminal is given back even if this process is killed: by a minder, which is started as
// soon as the first screen is drawn (or mindTime has passed), so that it does not take a processor from those who make it.
// Without it the terminal is given back on every way but SIGKILL.
func (sc *screen) mindSoon(self string) {
	sc.minder = time.AfterFunc(mindTime, func() {
		defer sc.tty.RestoreOnPanic()
		_ = sc.tty.StartMinder(self, VerbMind) // whoever gives the terminal back waits for it
	})
}

const mindTime = 100 * time.Millisecond

// drawn says that what was shown so far is a whole screen.
func (sc *screen) drawn() {
	if sc.minder != nil && sc.minder.Stop() {
		sc.minder.Reset(0)
		sc.minder = nil
	}
}

// VerbMind is the first argument with which the moat program gives a terminal back after a client that was killed.
const VerbMind = "mind"

// measure is the terminal's size now; zero if it does not say.
func (sc *screen) measure() api.Size {
	size, err := sc.tty.Size()
	if err != nil {
		return api.Size{}
	}
	return apiSize(size)
}

func apiSize(s term.Size) api.Size {
	return api.Size{Rows: uint16(min(max(s.Rows, 0), 1<<16-1)), Cols: uint16(min(max(s.Columns, 0), 1<<16-1))}
}

// describe is what the supervisor is told of the terminal.
func (sc *screen) describe() *api.Terminal {
	t := sc.self
	t.Size, t.Again = sc.measure(), sc.ours
	return &t
}

// sendSizes tells the supervisor the terminal's size whenever it is another one, until ctx is done.
func (sc *screen) sendSizes(ctx context.Context, s *api.Stream) {
	defer sc.tty.RestoreOnPanic()
	for size := range sc.tty.Sizes(ctx) {
		if s.Send(api.KindResize, api.Encode(apiSize(size))) != nil {
			return // the one who receives notices
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

// pieceSize is how much is written at a time: what a slow terminal takes before somebody who leaves gets impatient.
const pieceSize = 16 << 10

// errLeft says that the person has left.
var errLeft = errors.New("the person has left")

// show prints what the run's terminal would get, unless the person leaves meanwhile.
func (sc *screen) show(data []byte) error {
	for len(data) > 0 {
		select {
		case <-sc.left:
			return errLeft
		default:
		}
		n := min(len(data), pieceSize)
		sc.buf = sc.filter.Append(sc.buf[:0], data[:n])
		if err := sc.flush(); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// draw shows a part of a repaint.
func (sc *screen) draw(part []byte) error {
	err := sc.show(part)
	if sc.paint -= len(part); sc.paint <= 0 && err == nil {
		sc.drawn()
	}
	return err
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
	sc.ours = false
	sc.filter = term.NewFilter(sc.allow)
	if sc.out == sc.tty {
		sc.tty.SetUndo(sc.buf)
		return sc.tty.Restore()
	}
	return sc.flush()
}

// abandon gives back a terminal that takes no output, as far as that can be done: the settings now, and the modes, by
// the minder, when it takes output again. Nothing can be said on it.
func (sc *screen) abandon() error {
	if err := sc.tty.Restore(); err != nil && !errors.Is(err, term.ErrStuck) {
		return err
	}
	return nil
}

// flush writes what is in buf. How to undo it is known before it is done.
func (sc *screen) flush() error {
	if len(sc.buf) == 0 {
		return nil
	}
	if sc.filter.Changed() {
		sc.tty.SetUndo(sc.filter.Undo())
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
