package grant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// SeedSize is the size of a run's seed for placeholders.
const SeedSize = 32

// Check reports everything that keeps a run from having these grants, and gives nothing out.
func (b *Book) Check(ctx context.Context, names []string) error {
	_, err := b.Load(ctx, names, make([]byte, SeedSize))
	return err
}

// Load returns the grants of a run. The seed is the run's own: SeedSize random bytes, the same whenever the run's grants
// are loaded, since its sandbox keeps the placeholders that are made of them. A name may have scopes, as in "github:repo",
// that the credential must not be known to lack. A name that is given twice counts once.
//
// All that is wrong is in one error: *[UnknownError], *[UnreadyError] with the command that helps, *[ConflictError], or a
// *config.Error about the file of a provider.
func (b *Book) Load(ctx context.Context, names []string, seed []byte) ([]Ready, error) {
	ready, err := b.Resume(ctx, names, seed)
	if err != nil {
		return nil, err
	}
	return ready, nil
}

// Resume is [Book.Load] for a run that goes on after its supervisor was replaced. A grant that cannot be used any more, as
// it was revoked or has expired meanwhile, is returned all the same: its hosts and its placeholders stay what they were,
// and putting it in fails. The error still says what is wrong; only a grant without a provider is left out.
func (b *Book) Resume(ctx context.Context, names []string, seed []byte) ([]Ready, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("the seed for placeholders has %d bytes instead of %d", len(seed), SeedSize)
	}
	var ready []Ready
	var problems []error
	owner := map[string]string{}
	for _, ref := range names {
		g, err := b.load(ctx, ref, seed)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if err := g.current(); err != nil && !slices.ContainsFunc(problems, func(p error) bool { return p.Error() == err.Error() }) {
			problems = append(problems, err)
		}
		name := g.provider.Name
		if slices.ContainsFunc(ready, func(r Ready) bool { return r.Name == name }) {
			continue // given twice, perhaps with other scopes
		}
		for _, host := range g.provider.Hosts {
			if first := owner[host]; first != "" {
				problems = append(problems, &ConflictError{Host: host, First: first, Second: name})
			}
			owner[host] = name
		}
		ready = append(ready, g.ready())
	}
	return ready, errors.Join(problems...)
}

// Split parts a reference to a grant, "provider" or "provider:scope,scope".
func Split(ref string) (name string, scopes []string) {
	name, list, found := strings.Cut(ref, ":")
	if found {
		scopes = strings.Split(list, ",")
	}
	return name, scopes
}

// load makes a use of a grant. Whether it can be used is left to its method current.
func (b *Book) load(ctx context.Context, ref string, seed []byte) (use, error) {
	name, scopes := Split(ref)
	p, err := b.Find(name)
	if err != nil {
		return use{}, err
	}
	mark, err := p.placeholder(seed)
	if err != nil {
		return use{}, err
	}
	g := use{provider: p, mark: mark, now: b.now}
	g.credential, g.broken = b.Read(ctx, name)
	for _, scope := range scopes {
		if has := g.credential.Scopes; len(has) > 0 && !slices.Contains(has, scope) {
			g.broken = &UnreadyError{ref, fmt.Errorf("it is stored for %s only", strings.Join(has, ","))}
		}
	}
	return g, nil
}

// use is a credential in use. It never changes.
type use struct {
	provider   Provider
	credential Credential
	broken     error  // why it cannot be used; the credential may be empty then
	mark       string // its placeholder
	now        func() time.Time
}

func (g use) ready() Ready {
	r := Ready{
		Name: g.provider.Name, Hosts: g.provider.Hosts, Reach: g.provider.Reach, Env: map[string]string{},
		Placeholders: []string{g.mark}, ExpiresAt: g.credential.ExpiresAt,
		Inject: g.inject, Swap: g.swap,
		Secrets: func() []string { return g.provider.secrets(g.credential.Token) },
	}
	for _, v := range g.provider.Env {
		if v.Value == "" {
			v.Value = g.mark
		}
		r.Env[v.Name] = v.Value
	}
	return r
}

// current returns an UnreadyError for a grant that cannot be used, or not any more.
func (g use) current() error {
	if g.broken != nil {
		return g.broken
	}
	if end := g.credential.ExpiresAt; !end.IsZero() && !g.now().Before(end) {
		return &UnreadyError{g.provider.Name, fmt.Errorf("%w (%s)", ErrExpired, end.UTC().Format(time.RFC3339))}
	}
	return nil
}

func (g use) inject(_ context.Context, r *http.Request) error {
	if err := g.current(); err != nil {
		return err
	}
	return g.provider.inject(g.credential.Token, r)
}

func (g use) swap(_ context.Context, placeholder string) (string, error) {
	if placeholder != g.mark {
		return "", fmt.Errorf("this is not the placeholder of the grant %s", g.provider.Name)
	}
	if err := g.current(); err != nil {
		return "", err
	}
	return g.credential.Token.Expose(), nil
}
