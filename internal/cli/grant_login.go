package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"moat/internal/config"
	"moat/internal/egress/dial"
	"moat/internal/grant"
	"moat/internal/grant/oauth"
)

// clientVariable names the OAuth application as which moat logs in to a provider: a person registers one, there is none of
// moat's own yet.
func clientVariable(provider string) string {
	if provider == "github" {
		return "MOAT_GITHUB_CLIENT_ID"
	}
	return ""
}

// login is where a person logs in with a code, if nothing else was asked for and that can be done; otherwise nil.
func (o grantOptions) login(app *App, p grant.Provider) *oauth.Endpoint {
	client := ""
	if name := clientVariable(p.Name); name != "" {
		client = app.getenv(name)
	}
	if o.take || o.tokenStdin || client == "" {
		return nil
	}
	return p.Device(client)
}

// logIn shows a code and waits until it was typed.
func (app *App) logIn(ctx context.Context, e *oauth.Endpoint, ref grant.Ref) (grant.Credential, error) {
	client, err := app.ownClient()
	if err != nil {
		return grant.Credential{}, err
	}
	scopes := ref.Scopes
	if scopes == nil {
		scopes = []string{"repo", "read:org", "gist"} // what the program gh asks for
	}
	device, err := e.Device(ctx, client, scopes, time.Now())
	if err != nil {
		return grant.Credential{}, fmt.Errorf("begin to log in: %w", err)
	}
	app.say("open %s and type the code %s; this waits for it (Ctrl+C ends that)", device.URL, device.UserCode)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	token, err := e.Await(ctx, client, device)
	var said *oauth.Error
	switch {
	case errors.Is(err, context.Canceled):
		return grant.Credential{}, &exitError{code: codeInterrupted, err: errors.New("nothing was stored")}
	case errors.As(err, &said) && said.Code == "access_denied":
		return grant.Credential{}, errors.New("it was refused in the browser; nothing was stored")
	case err != nil:
		return grant.Credential{}, fmt.Errorf("log in: %w", err)
	}
	c, err := grant.FromToken(token, e.Client)
	c.Source = "login"
	return c, err
}

// ownClient is for requests of commands, which go where the person's configuration says.
func (app *App) ownClient() (*http.Client, error) {
	home, err := app.openHome()
	if err != nil {
		return nil, err
	}
	global, err := config.LoadGlobal(home.Path())
	if err != nil {
		return nil, err
	}
	userHome, err := app.userHome()
	if err != nil {
		return nil, err
	}
	own := dial.Own{Hosts: global.Egress.Hosts, Proxy: global.Egress.UpstreamProxy}
	for _, file := range global.Egress.CAFiles {
		own.CAFiles = append(own.CAFiles, config.ResolvePath(file, "/", userHome))
	}
	return own.Client()
}

// tryCredential asks the provider whether a credential is good, where its file says how.
func (app *App) tryCredential(ctx context.Context, o grantOptions, p grant.Provider, c grant.Credential) error {
	if o.unchecked || p.Validate == nil {
		return nil
	}
	client, err := app.ownClient()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err = p.Try(ctx, client, c)
	var invalid *grant.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return &exitError{code: codeFailure, err: fmt.Errorf("%w; nothing was stored", err), hint: "--no-validate stores it all the same"}
	case ctx.Err() != nil:
		return &exitError{code: codeInterrupted, err: errors.New("nothing was stored")}
	}
	return &exitError{code: codeFailure, err: fmt.Errorf("nobody knows whether it is good, so nothing was stored: %w", err), hint: "--no-validate stores it without asking"}
}
