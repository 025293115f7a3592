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
// the terminal back as it was.
func (s *attachment) equip(p plan.Plan) (release func() error, err error) {
	closeScreen := func() error { return nil }
	if p.TTY {
		s.screen, closeScreen = s.app.openScreen(s.manner.noScrollback)
	}
	if !s.manner.forward || !p.Stdin {
		return closeScreen, nil
	}
	if s.screen == nil {
		s.input = newInput(s.app.In)
		return closeScreen, nil
	}
	keys := s.manner.keys
	s.app.say("%s. %s d detaches, %s k stops the run, twice %s types it", s.name, keys, keys, keys)
	s.commands = make(chan term.Action)
	in, giveBack, err := s.app.takeKeyboard(keys, func(a term.Action) { s.commands <- a })
	s.input = in
	return func() error { return cmp.Or(giveBack(), closeScreen()) }, err
}

// openScreen prepares to show a terminal on the person's: nil if they have none that can be read and written.
func (app *App) openScreen(noScrollback bool) (*screen, func() error) {
	in, out, whole := app.terminal()
	if !whole {
		return nil, func() error { return nil }
	}
	changed, stop := watchSize()
	return &screen{
		out:     out,
		self:    api.Terminal{Key: terminalKey(in), NoScrollback: noScrollback},
		resized: changed,
		measure: func() api.Size { return sizeOf(out) },
		allow:   term.Options{KeepScrollback: true},
		filter:  term.NewFilter(term.Options{KeepScrollback: true}),
	}, func() error { stop(); return nil }
}

// takeKeyboard puts the person's terminal into raw mode and reads what they type. command is told of the keys that are
// for moat. giveBack restores the terminal.
func (app *App) takeKeyboard(keys config.Keys, command func(term.Action)) (in *input, giveBack func() error, err error) {
	fd := int(app.In.Fd())
	saved, err := xterm.MakeRaw(fd)
	if err != nil {
		return nil, func() error { return nil }, fmt.Errorf("put the terminal into raw mode: %w", err)
	}
	app.raw.Store(true)
	in = newInput(&keyReader{in: app.In, keys: term.NewKeys(keys), command: command})
	return in, func() error {
		app.raw.Store(false)
		return xterm.Restore(fd, saved)
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

// columns is how wide the person's terminal is.
func (app *App) columns() int {
	_, out, whole := app.terminal()
	if size := sizeOf(out); whole && size.Cols > 0 {
		return int(size.Cols)
	}
	return 80
}

// sizeOf is a terminal's size; zero if it does not say.
func sizeOf(f *os.File) api.Size {
	cols, rows, err := xterm.GetSize(int(f.Fd()))
	if err != nil || cols < 0 || rows < 0 {
		return api.Size{}
	}
	return api.Size{Rows: uint16(min(rows, 1<<16-1)), Cols: uint16(min(cols, 1<<16-1))}
}
