package cli

import (
	"cmp"
	"context"
	"slices"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/plan"
	"moat/internal/term"
)

// manner is how a person wants to be attached.
type manner struct {
	forward      bool // input is forwarded
	noScrollback bool
	allow        term.Options // what is let through to their terminal
	keys         config.Keys
}

// rights are what the person lets programs do to their terminal.
func rights(global *config.Global) term.Options {
	allow := func(what string) bool { return slices.Contains(global.Terminal.Allow, what) }
	return term.Options{
		Clipboard: allow("clipboard"), Colours: allow("colours"), Images: allow("images"), Notifications: allow("notifications"),
	}
}

// equip gives the attachment what the run needs of the person: standard input, or their whole terminal.
func (s *attachment) equip(p plan.Plan) (err error) {
	if p.TTY {
		if s.screen, err = s.app.openScreen(s.manner.noScrollback, s.manner.allow); err != nil {
			return err
		}
	}
	if !s.manner.forward || !p.Stdin {
		return nil
	}
	if s.screen == nil {
		s.input = newInput(s.app.In)
		return nil
	}
	keys := s.manner.keys
	s.app.say("%s. %s d detaches, %s k stops the run, twice %s types it", s.name, keys, keys, keys)
	s.commands = make(chan term.Action)
	s.input, err = s.app.takeKeyboard(s.screen, keys, func(a term.Action) { s.commands <- a })
	return err
}

// takeKeyboard puts the person's terminal into raw mode and reads what they type. command is told of the keys that are
// for moat. The screen's end gives the terminal back.
func (app *App) takeKeyboard(sc *screen, keys config.Keys, command func(term.Action)) (*input, error) {
	if err := sc.makeRaw(); err != nil {
		return nil, err
	}
	sc.mindSoon(app.Self)
	app.raw.Store(sc)
	return newInput(&keyReader{in: sc.tty, keys: term.NewKeys(keys), command: command}), nil
}

// attachTo is attach with what the run needs of the person. Their terminal is given back in any case.
func (s *attachment) attachTo(ctx context.Context, p plan.Plan) error {
	err := s.equip(p)
	if s.screen != nil {
		defer s.screen.tty.RestoreOnPanic()
	}
	if err == nil {
		err = s.attach(ctx)
	}
	if s.screen != nil {
		s.app.raw.Store(nil)
		err = cmp.Or(err, s.screen.close())
	}
	return err
}

// size is the size of the person's terminal, zero if they have none.
func (app *App) size() api.Size {
	sc, err := app.openScreen(true, term.Options{})
	if err != nil || sc == nil {
		return api.Size{}
	}
	defer func() { _ = sc.close() }()
	return sc.measure()
}
