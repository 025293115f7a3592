package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moat/internal/image"
	"moat/internal/plan"
)

// fetchImage gets an image that is not there yet, and says so. A signal ends it: there is no run yet that could go on.
func (app *App) fetchImage(ctx context.Context, s *attachment, f plan.Fetch) (*plan.Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bar := &progress{app: app, what: "image " + plain(f.Ref)}
	f.Report = bar.report
	var got *plan.Image
	var err error
	done := make(chan struct{})
	go func() {
		got, err = app.FetchImage(ctx, f)
		close(done)
	}()
	for {
		select {
		case <-s.signals:
			cancel()
			<-done
			bar.end()
			return nil, &exitError{code: codeInterrupted, err: errors.New("interrupted before the image was there; nothing was started")}
		case <-done:
			bar.end()
			if err != nil {
				return nil, imageError(f.Ref, err)
			}
			return got, nil
		}
	}
}

// imageError says what to do where the person can do something.
func imageError(ref string, err error) error {
	hint := ""
	if errors.Is(err, image.ErrDenied) {
		hint = "if it is there: \"docker login\" (or \"podman login\") to its registry; moat uses what that stores"
	}
	return &exitError{code: codeNotStarted, err: fmt.Errorf("get image %s: %w", ref, err), hint: hint}
}

// imageRunsNothing says what to write where neither the person nor the image has a command.
func imageRunsNothing(ref string, err error) error {
	if !errors.Is(err, plan.ErrNoCommand) {
		return err
	}
	return &exitError{
		code: codeUsage,
		err:  fmt.Errorf("nothing to run: no command was given, and the image %s has none", ref),
		hint: "type the command:   moat run -- COMMAND",
	}
}

// progress shows how far something is: on a terminal in one line that changes, elsewhere as one line at the end. What is
// ready at once shows nothing. It has one caller at a time.
type progress struct {
	app         *App
	what        string
	began, last time.Time
	done, total int64
}

// progressEvery is how often a terminal is told.
const progressEvery = 100 * time.Millisecond

func (p *progress) report(done, total int64) {
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	p.done, p.total = done, total
	if p.app.quiet || !terminalWriter(p.app.Err) || now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	fmt.Fprintf(p.app.Err, "\r\x1b[Kmoat: %s: %s of %s", p.what, sizeText(done), sizeText(total))
}

// end leaves one line that says what was done, if anything was.
func (p *progress) end() {
	if p.began.IsZero() {
		return
	}
	if !p.last.IsZero() {
		fmt.Fprint(p.app.Err, "\r\x1b[K")
	}
	p.app.say("%s: %s in %v", p.what, sizeText(p.done), time.Since(p.began).Round(100*time.Millisecond))
}
