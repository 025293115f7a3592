package grant

import (
	"fmt"
	"strings"

	"moat/internal/config"
	"moat/internal/policy"
)

// Ref names a grant, as people write it: "github", "github:repo,read:org", "github@work", "ssh:github.com".
type Ref struct {
	Provider string
	Host     string   // of ssh
	Scopes   []string // nil: none were written
	Profile  string   // empty: the usual one
}

// ParseRef reads what a person or an agent.yaml wrote. Whether there is such a provider is not looked at. Errors are a
// *[RefError].
func ParseRef(text string) (Ref, error) {
	rest, profile, found := cutLast(text, "@")
	if found && !config.IsProfile(profile) {
		return Ref{}, &RefError{text, fmt.Sprintf("%q is not the name of a profile: use 1 to 63 of a-z, 0-9, - and _, with a letter or digit first", profile)}
	}
	ref := Ref{Profile: profile}
	list, scoped := "", false
	if ref.Provider, list, scoped = strings.Cut(rest, ":"); ref.Provider == sshName {
		host, err := policy.Name(list)
		if err != nil || host.Name() == "" {
			return Ref{}, &RefError{text, "ssh is for one host, as in ssh:github.com"}
		}
		ref.Host = host.Name()
		return ref, nil
	}
	if scoped {
		ref.Scopes = strings.Split(list, ",")
	}
	return ref, nil
}

// Name is how the grant is called in messages and lists, without scopes.
func (r Ref) Name() string {
	name := r.Provider
	if r.Host != "" {
		name += ":" + r.Host
	}
	if r.Profile != "" {
		name += "@" + r.Profile
	}
	return name
}

// key is the name under which it is stored: that of a file, which has no colon on every system.
func (r Ref) key() string { return strings.Replace(r.Name(), ":", "@", 1) }

// refOf is the reverse of key.
func refOf(key string) Ref {
	provider, rest, _ := strings.Cut(key, "@")
	if provider != sshName {
		return Ref{Provider: provider, Profile: rest}
	}
	host, profile, _ := strings.Cut(rest, "@")
	return Ref{Provider: provider, Host: host, Profile: profile}
}

func cutLast(text, sep string) (before, after string, found bool) {
	if at := strings.LastIndex(text, sep); at >= 0 {
		return text[:at], text[at+len(sep):], true
	}
	return text, "", false
}

// RefError says that a text does not name a grant.
type RefError struct{ Text, Reason string }

func (e *RefError) Error() string {
	return fmt.Sprintf("%q does not name a grant: %s", e.Text, e.Reason)
}
