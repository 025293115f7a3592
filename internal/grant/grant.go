// Package grant knows credentials: for which hosts each is, how it is put into a request, what a sandbox holds in its
// place, and where on this machine it may be taken from.
//
// It promises that a credential is put in at exactly the hosts of its provider, over https on port 443, and is an error
// anywhere else; that what a sandbox gets in its place looks as the real one does, tells nothing about it, and is the same
// for the whole life of a run; that whatever stands between a run and its grant is found before the run starts, and is an
// error that says what to type. Providers are data, one file each; a person's own ones are files in $MOAT_HOME/providers.
//
// Keeping credentials sealed is left to package secret. Recognising placeholders in requests, taking secrets out of
// answers and records, and verifying TLS are left to package egress, which is given a [Ready] for each grant of a run.
//
// docs/credentials.md is the reference for people.
package grant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"moat/internal/grant/sshagent"
	"moat/internal/secret"
)

// ErrExpired says that a credential's time is over.
var ErrExpired = errors.New("it has expired")

// maxToken bounds a token. Servers accept some 8 KiB in one line of a header.
const maxToken = 8 << 10

// Credential is what is stored for a grant.
type Credential struct {
	Provider  string
	Profile   string // empty: the provider's usual one
	Token     secret.Value
	Scopes    []string  // what it is for, as far as somebody said so
	ExpiresAt time.Time // zero: nobody said that it ends
	CreatedAt time.Time // when it was stored
	Source    string    // where it came from: "stdin", "prompt", or the tool or file

	User    string       // what goes with the token and is no secret: the ID of an AWS key
	Session secret.Value // of temporary AWS keys
	Region  string       // of AWS
	SSH     *SSH         // of an SSH host; nil for everything else

	Refresh secret.Value // gets a new token when the time of this one is over; may be empty
	Client  string       // the application that Refresh was given to
}

// Ref is the name of the grant.
func (c Credential) Ref() Ref {
	ref := Ref{Provider: c.Provider, Profile: c.Profile}
	if c.SSH != nil {
		ref.Host = c.SSH.Host
	}
	return ref
}

// Ready is a grant that a run may use. Its functions may be called concurrently.
type Ready struct {
	Name string // as of Ref.Name
	// Hosts are where the credential is put in: names, normalised (package policy), or "*." and a name for all below it.
	Hosts []string
	// Reach are more hosts that a client of the provider talks to. They get no credential.
	Reach []string
	// Through are host:port that a client talks to without being looked into; they get no credential.
	Through []string
	// SSH signs for a host, if the grant is for one. Such a grant has no Hosts, and its functions are nil.
	SSH *sshagent.Host
	// Env is for the sandbox. It holds placeholders only.
	Env map[string]string
	// Placeholders are what the sandbox holds in the credential's place.
	Placeholders []string

	// Signs says that requests are signed and the credential itself is never sent, so that it cannot come back.
	Signs bool

	// Inject puts the credential into a request that is about to leave for one of Hosts. It changes nothing but the
	// header, and the query where a credential may be in that; if requests are signed it may hold the body and replace
	// it by one of known length. An *[UnfitError] is about the request, every other error about the credential.
	Inject func(ctx context.Context, r *http.Request) error
	// Swap returns what a placeholder stands for.
	Swap func(ctx context.Context, placeholder string) (string, error)
	// Rejected is to be told that a host answered 401 to the credential. It reports whether it will be renewed.
	Rejected func() (renewing bool)
	// Used notes that the credential is used. Inject does that by itself.
	Used func()
	// Secrets are the values that must not come back, in the forms in which they are sent.
	Secrets func() []string
}

// UnknownError says that there is no provider of a name.
type UnknownError struct {
	Name  string
	Near  string   // what may have been meant; may be empty
	Known []string // all there are, sorted
}

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no provider %q", e.Name) }

// UnreadyError says that a grant cannot be used.
type UnreadyError struct {
	Name string
	Err  error // secret.ErrNotFound, ErrExpired, and others
}

func (e *UnreadyError) Error() string {
	if errors.Is(e.Err, secret.ErrNotFound) {
		return fmt.Sprintf("the grant %s is not stored; store it with: moat grant %s", e.Name, e.Name)
	}
	if errors.Is(e.Err, sshagent.ErrAgent) {
		return fmt.Sprintf("the grant %s cannot be used: %v; add its key to the ssh agent with ssh-add, or store it with: moat grant %s --key FILE", e.Name, e.Err, e.Name)
	}
	return fmt.Sprintf("the grant %s cannot be used: %v; store it anew with: moat grant %s", e.Name, e.Err, e.Name)
}

func (e *UnreadyError) Unwrap() error { return e.Err }

// UnfitError says that a grant is not used for a request because of what the request is.
type UnfitError struct{ Name, Reason string }

func (e *UnfitError) Error() string {
	return fmt.Sprintf("the grant %s is not used for this request: %s", e.Name, e.Reason)
}

// Unfit is half a sentence for the client.
func (e *UnfitError) Unfit() string { return e.Reason }

// ConflictError says that two grants want the same host, so that nobody could say which one a request is made with.
type ConflictError struct{ Host, First, Second string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the grants %s and %s are both for %s; a run can have one of them", e.First, e.Second, e.Host)
}

// ParseToken accepts what can be a token: printable ASCII without spaces. One line end after it is dropped. Errors do not
// hold the text.
func ParseToken(text string) (secret.Value, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return secret.Value{}, errors.New("the token is empty")
	case len(text) > maxToken:
		return secret.Value{}, fmt.Errorf("the token is longer than %d bytes", maxToken)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return secret.Value{}, errors.New("the token has a space, a line end or another character that no token has")
	}
	return secret.New(text), nil
}
