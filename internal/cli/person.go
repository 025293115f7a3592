package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"

	xterm "golang.org/x/term"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/plan"
	"moat/internal/term"
)

// manner is how a person wants to be attached.
type manner struct {
	forward      bool // input is forwarded
	noScrollback bool
	keys         config.Keys
}

// equip gives the attachment what the run needs of the person: standard input, or their whole terminal. release gives
// the terminal back as it was; it may be called more than once.
func (s *attachment) equip(p plan.Plan) (release func() error, err error) {
	m := s.manner
	release = func() error { return nil }
	in, out, whole := s.app.terminal()
	if p.TTY && whole {
		s.screen = &screen{
			out:     out,
			self:    api.Terminal{Key: terminalKey(in), NoScrollback: m.noScrollback},
			measure: func() api.Size { return sizeOf(out) },
			filter:  term.NewFilter(term.Options{}),
		}
		var stop func()
		s.screen.resized, stop = watchSize()
		release = func() error { stop(); return nil }
	}
	if !m.forward || !p.Stdin {
		return release, nil
	}
	if s.screen == nil {
		s.input = newInput(s.app.In)
		return release, nil
	}
	s.app.say("%s. %s d detaches, %s k stops the run, twice %s types it", s.name, m.keys, m.keys, m.keys)
	saved, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return release, fmt.Errorf("put the terminal into raw mode: %w", err)
	}
	s.app.raw.Store(true)
	s.commands = make(chan term.Action)
	s.input = newInput(&keyReader{in: in, keys: term.NewKeys(m.keys), command: func(a term.Action) { s.commands <- a }})
	stop := release
	return func() error {
		s.app.raw.Store(false)
		return cmp.Or(stop(), xterm.Restore(int(in.Fd()), saved))
	}, nil
}

// attachTo is attach with what the run needs of the person.
func (s *attachment) attachTo(ctx context.Context, p plan.Plan) error {
	release, err := s.equip(p)
	s.release = sync.OnceValue(release)
	if err == nil {
		err = s.attach(ctx)
	}
	return cmp.Or(err, s.release())
}

// terminal is the person's terminal: both sides of it, and whether there are both.
func (app *App) terminal() (in, out *os.File, whole bool) {
	out, ok := app.Out.(*os.File)
	return app.In, out, ok && app.stdin() == plan.StdinTerminal && xterm.IsTerminal(int(out.Fd()))
}

// sizeOf is a terminal's size; zero if it does not say.
func sizeOf(f *os.File) api.Size {
	cols, rows, err := xterm.GetSize(int(f.Fd()))
	if err != nil || cols < 0 || rows < 0 {
		return api.Size{}
	}
	return api.Size{Rows: uint16(min(rows, 1<<16-1)), Cols: uint16(min(cols, 1<<16-1))}
}
