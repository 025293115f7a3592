package grant

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"moat/internal/config"
	"moat/internal/secret"
)

// Provider is one kind of credential.
type Provider struct {
	Name  string
	Title string // as people call the token: "GitHub token"
	// Obtain is where a person gets one; may be empty.
	Obtain string
	File   string // of a person's own provider; empty for those that moat knows

	Hosts []string // as in Ready
	Reach []string // as in Ready
	// Through is as in Ready.
	Through []string
	Rules   []Rule // the first one that fits a request is used; one fits every request to Hosts
	// Sign is for providers whose requests are signed; they have no Rules.
	Sign  func(ctx context.Context, u *use, c Credential, r *http.Request) error
	Env   []Var
	More  func(c Credential) []Var // depend on the credential; may be nil
	Shape Shape                    // of a real token, for what the sandbox gets in its place

	// Ask are the questions of which a credential consists, and Parse reads the answers, a line each, or what a program
	// has printed. Without them there is one token.
	Ask   []string
	Parse func(text string) (Credential, error)

	// Prefixes are how real tokens begin, as far as is known. Others are accepted, with a remark.
	Prefixes []string
	// Mistaken are the beginnings of tokens that are another provider's, by its name.
	Mistaken map[string]string
	// Scoped: the token can be said to be for scopes.
	Scoped bool
	// OAuth is where tokens with a refresh token are renewed, and where a person may log in with a code; may be nil.
	OAuth *authority
	// Login is like Import.Take, and does not ask anybody: what the other program has now is looked at before a renewal.
	Login func(ctx context.Context, from Source) (Credential, error)
	// Validate is a request that tells whether a credential is good; nil if none is known.
	Validate *config.Validate
	// Import takes a credential from where another program on this machine has it; nil where none is known.
	Import *Import
}

// Import takes a credential from another program of the person, if they ask for it.
type Import struct {
	From string // what it is taken from, for people
	Take func(ctx context.Context, from Source) (Credential, error)
}

// Source is where an Import may look.
type Source struct {
	Home    string // of the person
	Profile string // that the person named; empty: the usual one
}

// Rule says how requests carry the credential.
type Rule struct {
	Hosts  []string // empty: all of the provider's
	Path   string   // prefix of the path
	Header string
	Format string // the value, with {token} or {basic}: base64 of User:token (RFC 7617)
	User   string

	// Headers and Query are other places in which clients may send a credential. They are emptied.
	Headers, Query []string
}

// Var is a variable of the sandbox's environment.
type Var struct {
	Name  string
	Value string // empty: a placeholder
	Shape *Shape // of a placeholder that is the variable's own; nil: the one that stands for the token
}

// Shape is what a token looks like.
type Shape struct {
	Prefix, Suffix string
	Length         int    // characters between them, made up
	Alphabet       string // at least one character
}

// Alphabets of tokens.
const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	base64URL    = alphanumeric + "-_"
)

// placeholder makes up a token. It depends on the seed and the provider only.
func (p Provider) placeholder(seed []byte) (string, error) { return p.Shape.fill(seed, p.Name) }

// fill makes up a text that looks so. It depends on the seed and the name only.
func (s Shape) fill(seed []byte, name string) (string, error) {
	noise, err := hkdf.Key(sha256.New, seed, nil, "moat placeholder "+name, s.Length)
	if err != nil {
		return "", fmt.Errorf("make a placeholder: %w", err)
	}
	for i, b := range noise {
		noise[i] = s.Alphabet[int(b)%len(s.Alphabet)] // not quite even, which is good enough for what is no secret
	}
	return s.Prefix + string(noise) + s.Suffix, nil
}

// Read makes a credential of what somebody typed or piped. Errors do not hold the text.
func (p Provider) Read(text string) (Credential, error) {
	if p.Parse != nil {
		return p.Parse(text)
	}
	token, err := ParseToken(text)
	return Credential{Token: token}, err
}

// Questions are what to ask a person, a line each.
func (p Provider) Questions() []string {
	if len(p.Ask) > 0 {
		return p.Ask
	}
	return []string{p.Title + ": "}
}

// Check looks at a token that somebody wants to store. An error is certain; doubt is a remark for the person, or empty.
func (p Provider) Check(token secret.Value) (doubt string, err error) {
	begins := func(prefix string) bool { return strings.HasPrefix(token.Expose(), prefix) }
	for prefix, other := range p.Mistaken {
		if begins(prefix) {
			return "", fmt.Errorf("a token that begins with %s is not for %s; store it with: moat grant %s", prefix, p.Name, other)
		}
	}
	if len(p.Prefixes) > 0 && !slices.ContainsFunc(p.Prefixes, begins) {
		return fmt.Sprintf("this does not look like a %s, which begins with %s", p.Title, strings.Join(p.Prefixes, " or ")), nil
	}
	return "", nil
}

// fits is an error for a request to which the credential must not be added.
func (p Provider) fits(r *http.Request) error {
	host := strings.ToLower(r.URL.Hostname())
	at := func(pattern string) bool {
		domain, below := strings.CutPrefix(pattern, "*")
		return pattern == host || below && strings.HasSuffix(host, domain) && len(host) > len(domain)
	}
	if port := r.URL.Port(); r.URL.Scheme != "https" || port != "" && port != "443" || !slices.ContainsFunc(p.Hosts, at) {
		return fmt.Errorf("the grant %s is not for %s://%s", p.Name, r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// inject puts a token into a request by the first rule that fits.
func (p Provider) inject(token secret.Value, r *http.Request) error {
	if err := p.fits(r); err != nil {
		return err
	}
	host := strings.ToLower(r.URL.Hostname())
	for _, rule := range p.Rules {
		if (len(rule.Hosts) == 0 || slices.Contains(rule.Hosts, host)) && strings.HasPrefix(r.URL.Path, rule.Path) {
			rule.apply(token, r)
			return nil
		}
	}
	return fmt.Errorf("the grant %s has no rule for this request", p.Name)
}

func (rule Rule) apply(token secret.Value, r *http.Request) {
	for _, name := range rule.Headers {
		r.Header.Del(name)
	}
	r.Header.Set(rule.Header, rule.value(token))
	if len(rule.Query) > 0 && r.URL.RawQuery != "" {
		r.URL.RawQuery = without(r.URL.RawQuery, rule.Query)
	}
}

// value is what the header says.
func (rule Rule) value(token secret.Value) string {
	if place := "{basic}"; strings.Contains(rule.Format, place) {
		return strings.Replace(rule.Format, place, rule.basic(token), 1)
	}
	return strings.Replace(rule.Format, "{token}", token.Expose(), 1)
}

func (rule Rule) basic(token secret.Value) string {
	return base64.StdEncoding.EncodeToString([]byte(rule.User + ":" + token.Expose()))
}

// without removes parameters from a query and leaves the rest as it is written.
func without(query string, names []string) string {
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		return err == nil && slices.Contains(names, plain)
	})
	return strings.Join(kept, "&")
}

// secrets are the forms in which a credential is sent; none of no credential.
func (p Provider) secrets(c Credential) []string {
	token := c.Token
	if token.IsZero() {
		return nil
	}
	forms := []string{token.Expose()}
	for _, more := range []secret.Value{c.Session, c.Refresh} {
		if !more.IsZero() {
			forms = append(forms, more.Expose())
		}
	}
	for _, rule := range p.Rules {
		if strings.Contains(rule.Format, "{basic}") && !slices.Contains(forms, rule.basic(token)) {
			forms = append(forms, rule.basic(token))
		}
	}
	return forms
}
