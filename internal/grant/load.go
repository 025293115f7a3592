package grant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"moat/internal/grant/sshagent"
	"moat/internal/secret"
)

// SeedSize is the size of a run's seed for placeholders.
const SeedSize = 32

// Check reports everything that keeps a run from having these grants, and gives nothing out.
func (b *Book) Check(ctx context.Context, names []string) error {
	ready, err := b.Load(ctx, names, make([]byte, SeedSize))
	for _, g := range ready {
		err = errors.Join(err, b.checkAgent(ctx, g))
	}
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
		if err := g.begin(ctx); err != nil && !slices.ContainsFunc(problems, func(p error) bool { return p.Error() == err.Error() }) {
			problems = append(problems, err)
		}
		name := g.ref.Name()
		if slices.ContainsFunc(ready, func(r Ready) bool { return r.Name == name }) {
			continue // given twice, perhaps with other scopes
		}
		for _, host := range slices.Concat(g.provider.Hosts, g.provider.Through) {
			if first := owner[host]; first != "" {
				problems = append(problems, &ConflictError{Host: host, First: first, Second: name})
			}
			owner[host] = name
		}
		ready = append(ready, g.ready())
	}
	return ready, errors.Join(problems...)
}

// load makes a use of a grant. Whether it can be used is left to its method current.
func (b *Book) load(ctx context.Context, text string, seed []byte) (*use, error) {
	ref, err := ParseRef(text)
	if err != nil {
		return nil, err
	}
	p, err := b.Provider(ref)
	if err != nil {
		return nil, err
	}
	u := &use{ref: ref, provider: p, book: b, now: b.now, turn: make(chan struct{}, 1)}
	h := &held{}
	h.credential, u.broken = b.Read(ctx, ref)
	u.held.Store(h)
	has := h.credential.Scopes
	for _, scope := range ref.Scopes {
		if len(has) > 0 && !slices.Contains(has, scope) {
			u.broken = &UnreadyError{text, fmt.Errorf("it is stored for %s only", strings.Join(has, ","))}
		}
	}
	if u.scopes = has; ref.Scopes != nil {
		u.scopes = ref.Scopes
	}
	if h.credential.SSH != nil && u.broken == nil {
		if u.ssh, err = h.credential.sshHost(b.AgentSocket); err != nil {
			u.broken = &UnreadyError{ref.Name(), fmt.Errorf("%w: %w", secret.ErrUnreadable, err)}
		}
	}
	return u, u.makeUp(seed)
}

// use is a credential in use. Its methods may be called concurrently.
type use struct {
	ref      Ref
	provider Provider
	book     *Book
	ssh      *sshagent.Host
	scopes   []string          // what it may be used for, where moat can tell
	broken   error             // why it cannot be used; the credential may be empty then
	mark     string            // the placeholder of the token
	marks    []string          // all placeholders
	env      map[string]string // of the sandbox
	now      func() time.Time

	held atomic.Pointer[held] // what there is now
	turn chan struct{}        // held by who renews it

	touched atomic.Int64 // when its use was noted, in Unix seconds
}

// begin is an error for a grant that a run cannot begin with. One that will be renewed when it is needed is none.
func (u *use) begin(ctx context.Context) error {
	if u.broken == nil && u.book.HTTP == nil && !u.held.Load().credential.Refresh.IsZero() {
		return nil
	}
	_, err := u.current(ctx)
	return err
}

// makeUp makes the placeholders, and what the sandbox gets.
func (u *use) makeUp(seed []byte) (err error) {
	if u.ref.Host != "" {
		return nil // nothing stands for a key
	}
	if u.mark, err = u.provider.placeholder(seed); err != nil {
		return err
	}
	u.marks, u.env = []string{u.mark}, map[string]string{}
	vars := u.provider.Env
	if u.provider.More != nil {
		vars = append(slices.Clone(vars), u.provider.More(u.held.Load().credential)...)
	}
	for _, v := range vars {
		switch {
		case v.Shape != nil:
			if v.Value, err = v.Shape.fill(seed, u.provider.Name+" "+v.Name); err != nil {
				return err
			}
			u.marks = append(u.marks, v.Value)
		case v.Value == "":
			v.Value = u.mark
		}
		u.env[v.Name] = v.Value
	}
	return nil
}

func (u *use) ready() Ready {
	if u.ref.Host != "" {
		return Ready{Name: u.ref.Name(), Through: u.provider.Through, SSH: u.ssh, Used: u.touch}
	}
	r := Ready{
		Name: u.ref.Name(), Hosts: u.provider.Hosts, Reach: u.provider.Reach, Env: u.env,
		Placeholders: u.marks, Signs: u.provider.Sign != nil, Inject: u.inject, Rejected: u.reject, Used: u.touch,
		Secrets: func() []string { return u.provider.secrets(u.held.Load().credential) },
	}
	if !r.Signs {
		r.Swap = u.swap
	}
	return r
}

func (u *use) unfit(err error) error { return &UnfitError{u.ref.Name(), err.Error()} }

func (u *use) inject(ctx context.Context, r *http.Request) error {
	c, err := u.current(ctx)
	if err != nil {
		return err
	}
	if err := u.provider.fits(r); err != nil {
		return err
	}
	if u.provider.Sign != nil {
		err = u.provider.Sign(ctx, u, c, r)
	} else {
		err = u.provider.inject(c.Token, r)
	}
	if err == nil {
		u.touch()
	}
	return err
}

// touch notes that the credential is used, at most once a minute. No request fails because that cannot be noted.
func (u *use) touch() {
	now := u.now().Unix()
	if last := u.touched.Load(); now-last >= 60 && u.touched.CompareAndSwap(last, now) {
		_ = u.book.Store.Touch(u.ref.key(), u.now())
	}
}

func (u *use) swap(ctx context.Context, placeholder string) (string, error) {
	if placeholder != u.mark {
		return "", fmt.Errorf("this is not the placeholder of the grant %s", u.ref.Name())
	}
	c, err := u.current(ctx)
	if err != nil {
		return "", err
	}
	return c.Token.Expose(), nil
}
