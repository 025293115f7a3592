package grant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moat/internal/grant/oauth"
)

const (
	renewBefore = 5 * time.Minute  // the end of a token
	renewPause  = 30 * time.Second // after a renewal that failed
	renewLimit  = time.Minute      // for all of one
	rejectPause = 5 * time.Minute  // from a renewal to the next one that a host's 401 may cause: a sandbox can have as many as it likes
)

// ErrRenew says that a credential could not be renewed.
var ErrRenew = errors.New("it could not be renewed")

// held is a credential at a moment.
type held struct {
	credential Credential
	renewed    time.Time // zero: not by this run
	rejected   bool      // its host said so
	failed     time.Time // when a renewal failed last
	problem    error     // why
}

// renewable reports whether there is a way to get a new token.
func (u *use) renewable(c Credential) bool {
	return u.book.HTTP != nil && u.provider.OAuth != nil && !c.Refresh.IsZero()
}

// due reports whether a token should be renewed before it is used again.
func (h held) due(now time.Time) bool {
	end := h.credential.ExpiresAt
	return h.rejected || !end.IsZero() && now.Add(renewBefore).After(end)
}

// usable is an error for a token that is over.
func (u *use) usable(h held) error {
	end := h.credential.ExpiresAt
	if end.IsZero() || u.now().Before(end) {
		return nil
	}
	err := fmt.Errorf("%w (%s)", ErrExpired, end.UTC().Format(time.RFC3339))
	if h.problem != nil {
		err = fmt.Errorf("%w, and %w: %w", err, ErrRenew, h.problem)
	}
	return &UnreadyError{u.ref.Name(), err}
}

// current returns the credential as it can be used now, renewed if it is time for that. The error is an UnreadyError.
func (u *use) current(ctx context.Context) (Credential, error) {
	if u.broken != nil {
		return Credential{}, u.broken
	}
	before := u.held.Load()
	h := *before
	if !u.renewable(h.credential) || !h.due(u.now()) || u.now().Before(h.failed.Add(renewPause)) {
		return h.credential, u.usable(h)
	}
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return Credential{}, ctx.Err()
	}
	if now := u.held.Load(); now != before && (!now.due(u.now()) || !now.failed.Equal(h.failed)) {
		return now.credential, u.usable(*now) // somebody has tried it meanwhile
	}
	// A server takes a refresh token once, so who has begun must not stop because a client went away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewLimit)
	defer cancel()
	h = u.renew(ctx)
	u.held.Store(&h)
	return h.credential, u.usable(h)
}

// renew gets a new token, or says why there is none.
func (u *use) renew(ctx context.Context) held {
	old := *u.held.Load()
	c, err := u.book.renew(ctx, u, old)
	if err == nil {
		return held{credential: c, renewed: u.now()}
	}
	if u.book.Trouble != nil {
		u.book.Trouble(&UnreadyError{u.ref.Name(), fmt.Errorf("%w: %w", ErrRenew, err)})
	}
	old.failed, old.problem = u.now(), err
	return old
}

// renew gets a new token under the lock of the credential, and stores it before anybody uses it. Other runs may have done it
// before, or the program that the login is from.
func (b *Book) renew(ctx context.Context, u *use, old held) (Credential, error) {
	unlock, err := b.Store.Lock(ctx, u.ref.key())
	if err != nil {
		return Credential{}, err
	}
	defer unlock()
	stored, err := b.Read(ctx, u.ref)
	if err != nil {
		return Credential{}, errors.Unwrap(err)
	}
	fresh := func(c Credential) bool {
		return !c.Token.Equal(old.credential.Token) && !held{credential: c}.due(b.now())
	}
	if fresh(stored) {
		return stored, nil
	}
	if login := u.provider.Login; login != nil && stored.Source == u.provider.Import.From {
		if c, err := login(ctx, Source{Home: b.UserHome, Profile: u.ref.Profile}); err == nil && !c.Refresh.Equal(stored.Refresh) {
			stored.Token, stored.Refresh, stored.ExpiresAt = c.Token, c.Refresh, c.ExpiresAt
			if fresh(stored) {
				return stored, b.keep(ctx, stored)
			}
		}
	}
	token, err := u.provider.OAuth.with(stored.Client).Refresh(ctx, b.HTTP, stored.Refresh, b.now())
	if err != nil {
		return Credential{}, err
	}
	if stored.Token, err = ParseToken(token.Access.Expose()); err != nil {
		return Credential{}, err
	}
	if !token.Refresh.IsZero() {
		stored.Refresh = token.Refresh
	}
	stored.ExpiresAt = token.ExpiresAt
	return stored, b.keep(ctx, stored)
}

// keep stores a credential that has been renewed; it is as old as it was.
func (b *Book) keep(ctx context.Context, c Credential) error {
	data, err := c.marshal()
	if err == nil {
		_, err = b.Store.Put(ctx, c.Ref().key(), data)
	}
	if err != nil {
		return fmt.Errorf("store what was renewed: %w", err)
	}
	return nil
}

// reject notes that a host did not accept the credential, and reports whether a new one may help.
func (u *use) reject() (renewable bool) {
	h := *u.held.Load()
	if !u.renewable(h.credential) || h.rejected || u.now().Before(h.renewed.Add(rejectPause)) {
		return false
	}
	h.rejected = true
	u.held.Store(&h)
	return true
}

// authority is an authorisation server of a provider.
type authority struct{ oauth.Endpoint }

// with is the server, asked as another application.
func (a authority) with(client string) oauth.Endpoint {
	if client != "" {
		a.Client = client
	}
	return a.Endpoint
}

// Device is where a person logs in with a code, as an application; nil if the provider has no such thing.
func (p Provider) Device(client string) *oauth.Endpoint {
	if p.OAuth == nil || p.OAuth.DeviceURL == "" {
		return nil
	}
	e := p.OAuth.with(client)
	return &e
}

// FromToken makes a credential of what a server has given to an application.
func FromToken(t oauth.Token, client string) (Credential, error) {
	access, err := ParseToken(t.Access.Expose())
	return Credential{Token: access, Refresh: t.Refresh, ExpiresAt: t.ExpiresAt, Scopes: t.Scopes, Client: client}, err
}
