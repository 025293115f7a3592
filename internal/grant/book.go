package grant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"moat/internal/config"
	"moat/internal/secret"
)

// builtin lists the providers that moat knows.
func builtin() []Provider {
	return []Provider{anthropic(), aws(), claude(), gemini(), github(), gitlab(), npm(), openai(), pypi()}
}

// Book is the providers and the stored credentials of one person. Its methods may be called concurrently.
type Book struct {
	Home  string // $MOAT_HOME, for providers
	Store *secret.Store
	// AgentSocket is where the person's ssh agent is now; empty: where it was when a key of it was granted.
	AgentSocket string

	// HTTP asks authorisation servers; nil: nothing is renewed.
	HTTP *http.Client
	// Trouble is told when a renewal fails, with an *[UnreadyError]; may be nil.
	Trouble func(error)
	// UserHome is the person's home, where other programs keep their logins.
	UserHome string
	Now      func() time.Time // nil: the system's clock
}

func (b *Book) now() time.Time {
	if b.Now == nil {
		return time.Now()
	}
	return b.Now()
}

// Names are all providers, sorted: those that moat knows and those that have a file, right or wrong.
func (b *Book) Names() ([]string, error) {
	var names []string
	for _, p := range builtin() {
		names = append(names, p.Name)
	}
	files, err := os.ReadDir(filepath.Join(b.Home, config.ProvidersDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for providers: %w", err)
	}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".yaml"); ok && config.CheckProviderName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Find returns a provider by its name. The error is an *[UnknownError], or a *config.Error about its file. A file cannot
// take the place of a provider that moat knows.
func (b *Book) Find(name string) (Provider, error) {
	for _, p := range builtin() {
		if p.Name == name {
			return p, b.unshadowed(name)
		}
	}
	if config.CheckProviderName(name) == nil {
		custom, err := config.LoadProvider(b.Home, name)
		if err != nil {
			return Provider{}, err
		}
		if custom != nil {
			return fromFile(custom), nil
		}
	}
	known, err := b.Names()
	if err != nil {
		return Provider{}, err
	}
	return Provider{}, &UnknownError{Name: name, Near: config.Closest(name, known), Known: known}
}

// Provider returns the provider of a grant. Errors are as for Find.
func (b *Book) Provider(ref Ref) (Provider, error) {
	if ref.Host != "" {
		return sshTo(ref.Host), nil
	}
	return b.Find(ref.Provider)
}

// unshadowed refuses a file that bears the name of a provider that moat knows: one of the two would be ignored.
func (b *Book) unshadowed(name string) error {
	file := filepath.Join(b.Home, config.ProvidersDir, name+".yaml")
	if _, err := os.Lstat(file); err != nil {
		return nil
	}
	return &config.Error{File: file, Problems: []config.Problem{{
		Message: name + " is a provider that moat knows by itself", Hint: "give yours another name",
	}}}
}

// fromFile makes a provider of a person's own file.
func fromFile(c *config.Provider) Provider {
	p := Provider{
		Name: c.Name, Title: "token for " + c.Name, File: c.File, Hosts: c.Hosts,
		Rules: []Rule{{Header: c.Inject.Header, Format: c.Inject.Format, User: c.Inject.User}},
		Shape: Shape{Prefix: "moat_", Length: 40, Alphabet: alphanumeric},
	}
	if c.Validate.URL != "" {
		p.Validate = &c.Validate
	}
	for _, v := range c.Env {
		if v.Value == config.EnvPlaceholder {
			v.Value = ""
		} else if v.Value == "" {
			continue // unset and empty are the same to whoever asks for a token
		}
		p.Env = append(p.Env, Var{Name: v.Name, Value: v.Value})
	}
	return p
}

// Save stores a credential for its provider, in the place of an older one. kept is as of [secret.Store.Put].
func (b *Book) Save(ctx context.Context, c Credential) (kept *secret.Kept, err error) {
	c.CreatedAt = b.now()
	data, err := c.marshal()
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", c.Ref().Name(), err)
	}
	return b.Store.Put(ctx, c.Ref().key(), data)
}

// List returns the grants that are stored, sorted by name. What they are worth is not looked at.
func (b *Book) List() ([]Ref, error) {
	keys, err := b.Store.List()
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, key := range keys {
		refs = append(refs, refOf(key))
	}
	slices.SortFunc(refs, func(x, y Ref) int { return strings.Compare(x.Name(), y.Name()) })
	return refs, nil
}

// Remove removes what is stored for a grant, also where it cannot be opened.
func (b *Book) Remove(ref Ref) error { return b.Store.Remove(ref.key()) }

// LastUsed is when a run has used a grant last, to the minute; zero: none has since it was stored.
func (b *Book) LastUsed(ref Ref) time.Time { return b.Store.Touched(ref.key()) }

// Read returns what is stored for a grant, expired or not. Errors are an *[UnreadyError].
func (b *Book) Read(ctx context.Context, ref Ref) (Credential, error) {
	data, err := b.Store.Get(ctx, ref.key())
	if err != nil {
		return Credential{}, &UnreadyError{ref.Name(), err}
	}
	c, err := unmarshal(data)
	if err == nil && c.Ref().key() != ref.key() {
		err = errors.New("it is for another provider")
	}
	if err != nil {
		return Credential{}, &UnreadyError{ref.Name(), fmt.Errorf("%w: %w", secret.ErrUnreadable, err)}
	}
	return c, nil
}
