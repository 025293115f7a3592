package intercept

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"moat/internal/egress"
	"moat/internal/egress/scrub"
	"moat/internal/journal"
	"moat/internal/policy"
)

// maxSecrets is how many former values of a credential are still taken out of what comes back.
const maxSecrets = 16

// credential is a grant in use.
type credential struct {
	egress.Grant
	marks *scrub.Set // its placeholders

	mu      sync.Mutex
	secrets []string // newest last
}

var errRedirected = errors.New("the request would go to another host")

// loadGrants makes the tables of the grants.
func (i *Interceptor) loadGrants() {
	i.grants, i.below = make(map[policy.Host]*credential), make(map[string]*credential)
	var marks []string
	for _, g := range i.config.Grants {
		c := &credential{Grant: g, marks: scrub.New(g.Placeholders)}
		i.all = append(i.all, c)
		marks = append(marks, g.Placeholders...)
		for _, name := range g.Hosts {
			i.addHost(name, c)
		}
	}
	i.marks = scrub.New(marks)
	for _, c := range i.all {
		c.renew()
	}
	i.rebuild()
}

func (i *Interceptor) addHost(pattern string, c *credential) {
	name, below := strings.CutPrefix(pattern, "*.")
	host, err := policy.Name(name)
	switch {
	case err != nil:
		i.config.Logger.Error("a grant has an invalid host", "grant", c.Name, "err", err)
	case below && i.below[host.Name()] == nil:
		i.below[host.Name()] = c
	case !below && i.grants[host] == nil:
		i.grants[host] = c
	}
}

// grantOf is the credential for a host; nil if there is none.
func (i *Interceptor) grantOf(host policy.Host) *credential {
	if c := i.grants[host]; c != nil || len(i.below) == 0 {
		return c
	}
	for rest := host.Name(); rest != ""; {
		_, rest, _ = strings.Cut(rest, ".")
		if c := i.below[rest]; c != nil {
			return c
		}
	}
	return nil
}

// renew asks for the secrets as they are now, and reports whether there are new ones. Former ones are kept for a while:
// they may still come back.
func (c *credential) renew() (changed bool) {
	if c.Secrets == nil {
		return false
	}
	now := c.Secrets()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range now {
		if !slices.Contains(c.secrets, s) {
			c.secrets = append(c.secrets, s)
			changed = true
		}
	}
	if extra := len(c.secrets) - max(maxSecrets, len(now)); extra > 0 {
		c.secrets = slices.Delete(c.secrets, 0, extra)
	}
	return changed
}

// rebuild makes the Sets of all secrets as they are now.
func (i *Interceptor) rebuild() {
	var secrets []string
	for _, c := range i.all {
		c.mu.Lock()
		secrets = append(secrets, c.secrets...)
		c.mu.Unlock()
	}
	i.secrets.Store(scrub.New(secrets))
	for _, c := range i.all {
		secrets = append(secrets, c.Placeholders...)
	}
	i.hidden.Store(scrub.New(secrets))
}

// leak refuses a request with a placeholder that is not for this host and this kind of connection.
func (x *exchange) leak() *refusal {
	if x.marks == nil {
		return nil
	}
	for _, c := range x.all {
		if c == x.grant || !x.mentions(c.marks) {
			continue
		}
		rule := journal.LeakRule + c.Name
		why := "it is for its own hosts, over https"
		return &refusal{
			status: http.StatusForbidden, rule: rule, kind: "credential",
			body: "moat: refused: the request holds the placeholder of the grant " + c.Name + ", and " + why + ".\n",
			hint: egress.Refusal{Host: x.host, Port: x.port, Rule: rule},
		}
	}
	return nil
}

// mentions reports whether a placeholder is in the line or the header of the request.
func (x *exchange) mentions(marks *scrub.Set) bool {
	if marks.Contains(x.r.RequestURI) || marks.Contains(x.path) || x.query != "" && marks.Contains(unescaped(x.query)) {
		return true
	}
	for name, values := range x.r.Header {
		if marks.Contains(name) {
			return true
		}
		for _, value := range values {
			if marks.Contains(value) {
				return true
			}
		}
	}
	return false
}

func unescaped(query string) string {
	text, err := url.QueryUnescape(query)
	if err != nil {
		return query
	}
	return text
}

// inject puts the credential in: first in the place of placeholders, then where the grant has it by itself.
func (x *exchange) inject(ctx context.Context, out *http.Request) error {
	if err := x.swap(ctx, out); err != nil {
		return err
	}
	scheme, host := out.URL.Scheme, out.URL.Host
	if err := x.grant.Inject(ctx, out); err != nil {
		return err
	}
	if x.grant.renew() {
		x.rebuild()
	}
	if out.URL.Scheme != scheme || out.URL.Host != host || out.Host != host {
		return errRedirected
	}
	return nil
}

// swap puts values in the place of placeholders, in headers and in the query. A placeholder that is not there as a whole
// stays what it is.
func (x *exchange) swap(ctx context.Context, out *http.Request) error {
	if x.grant.Swap == nil || !x.mentions(x.grant.marks) {
		return nil
	}
	for _, mark := range x.grant.Placeholders {
		if !x.holds(out, mark) {
			continue
		}
		value, err := x.grant.Swap(ctx, mark)
		if err != nil {
			return fmt.Errorf("find the value of a placeholder: %w", err)
		}
		for _, values := range out.Header {
			for n := range values {
				values[n] = swapValue(values[n], mark, value)
			}
		}
		out.URL.RawQuery = swapQuery(out.URL.RawQuery, mark, value)
	}
	return nil
}

// holds reports whether a placeholder is somewhere where it can be swapped.
func (x *exchange) holds(out *http.Request, mark string) bool {
	if strings.Contains(unescaped(out.URL.RawQuery), mark) {
		return true
	}
	for _, values := range out.Header {
		for _, value := range values {
			if swapValue(value, mark, "") != value {
				return true
			}
		}
	}
	return false
}

// swapValue swaps in the value of a header, also inside Basic authentication (RFC 7617).
func swapValue(value, mark, with string) string {
	if scheme, encoded, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Basic") {
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err == nil && strings.Contains(string(plain), mark) {
			return scheme + " " + base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(plain), mark, with)))
		}
	}
	return strings.ReplaceAll(value, mark, with)
}

// swapQuery swaps in the values of a query.
func swapQuery(query, mark, with string) string {
	if !strings.Contains(unescaped(query), mark) {
		return query
	}
	parts := strings.Split(query, "&")
	for n, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		if plain := unescaped(value); strings.Contains(plain, mark) {
			parts[n] = name + "=" + url.QueryEscape(strings.ReplaceAll(plain, mark, with))
		}
	}
	return strings.Join(parts, "&")
}
