// Package oauth gets tokens from authorisation servers: with a code that a person types into a browser (RFC 8628), and anew
// with a refresh token (RFC 6749 section 6).
//
// It promises that nothing of a token or of what a server says about one is in an error, except the error's code; that answers
// are bounded; that redirects are not followed; and that asking goes on no longer than the context and the server allow. How a
// server is reached, where tokens are kept and who may use them are left to others.
package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"moat/internal/secret"
)

// Endpoint is an authorisation server, and who asks it.
type Endpoint struct {
	DeviceURL string // empty: it knows no codes
	TokenURL  string
	Client    string // the ID of the application
	JSON      bool   // it wants its questions as JSON and not as a form
}

// Token is what a server has given.
type Token struct {
	Access, Refresh secret.Value // Refresh may be empty
	ExpiresAt       time.Time    // zero: the server did not say
	Scopes          []string
}

// Error is what a server has answered instead of a token.
type Error struct {
	Status int
	Code   string // RFC 6749 section 5.2; may be empty
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the authorisation server answered %d", e.Status)
	}
	return "the authorisation server answered " + e.Code
}

// Lost reports whether the server will never take this refresh token again.
func (e *Error) Lost() bool { return e.Code == "invalid_grant" || e.Code == "bad_refresh_token" }

// maxAnswer bounds what a server may say.
const maxAnswer = 64 << 10

// answer is what servers say.
type answer struct {
	AccessToken  string      `json:"access_token"`
	RefreshToken string      `json:"refresh_token"`
	ExpiresIn    json.Number `json:"expires_in"`
	Scope        string      `json:"scope"`

	DeviceCode      string      `json:"device_code"`
	UserCode        string      `json:"user_code"`
	VerificationURI string      `json:"verification_uri"`
	Interval        json.Number `json:"interval"`

	Error json.RawMessage `json:"error"` // a code; some servers say more
}

// Refresh gets a new token for a refresh token. The old one may be of no use afterwards, so what is returned must be kept.
func (e Endpoint) Refresh(ctx context.Context, client *http.Client, refresh secret.Value, now time.Time) (Token, error) {
	a, err := e.ask(ctx, client, e.TokenURL, map[string]string{
		"grant_type": "refresh_token", "refresh_token": refresh.Expose(), "client_id": e.Client,
	})
	if err != nil {
		return Token{}, err
	}
	return a.token(now)
}

func (a answer) token(now time.Time) (Token, error) {
	if a.AccessToken == "" {
		return Token{}, errors.New("the authorisation server gave no token")
	}
	t := Token{Access: secret.New(a.AccessToken), Refresh: secret.New(a.RefreshToken)}
	if seconds, err := a.ExpiresIn.Int64(); err == nil && seconds > 0 && seconds < 1<<31 {
		t.ExpiresAt = now.Add(time.Duration(seconds) * time.Second)
	}
	if scope := strings.FieldsFunc(a.Scope, func(r rune) bool { return r == ' ' || r == ',' }); len(scope) > 0 {
		t.Scopes = scope
	}
	return t, nil
}

// Device is a code that a person has to type.
type Device struct {
	UserCode, URL string

	code     secret.Value
	interval time.Duration
	expires  time.Time
}

// Device asks for a code.
func (e Endpoint) Device(ctx context.Context, client *http.Client, scopes []string, now time.Time) (Device, error) {
	question := map[string]string{"client_id": e.Client}
	if len(scopes) > 0 {
		question["scope"] = strings.Join(scopes, " ")
	}
	a, err := e.ask(ctx, client, e.DeviceURL, question)
	if err != nil {
		return Device{}, err
	}
	page, err := url.Parse(a.VerificationURI)
	if err != nil || page.Scheme != "https" || a.DeviceCode == "" || !regexp.MustCompile(`^[A-Za-z0-9-]{4,32}$`).MatchString(a.UserCode) {
		return Device{}, errors.New("the authorisation server gave no code")
	}
	d := Device{UserCode: a.UserCode, URL: page.String(), code: secret.New(a.DeviceCode), interval: 5 * time.Second, expires: now.Add(15 * time.Minute)}
	if n, err := a.Interval.Int64(); err == nil && n > 0 && n <= 60 {
		d.interval = time.Duration(n) * time.Second
	}
	if n, err := a.ExpiresIn.Int64(); err == nil && n > 0 && n < 3600 {
		d.expires = now.Add(time.Duration(n) * time.Second)
	}
	return d, nil
}

// ErrTooLate says that nobody has typed the code in time.
var ErrTooLate = errors.New("the code was not typed in time")

// Await asks until the person has typed the code, or has refused, or it is too late.
func (e Endpoint) Await(ctx context.Context, client *http.Client, d Device) (Token, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, d.expires, ErrTooLate)
	defer cancel()
	for {
		timer := time.NewTimer(d.interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Token{}, context.Cause(ctx)
		}
		a, err := e.ask(ctx, client, e.TokenURL, map[string]string{
			"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": d.code.Expose(), "client_id": e.Client,
		})
		var said *Error
		switch {
		case err == nil:
			return a.token(time.Now())
		case ctx.Err() != nil:
			return Token{}, context.Cause(ctx)
		case errors.As(err, &said) && said.Code == "authorization_pending":
		case errors.As(err, &said) && said.Code == "slow_down":
			d.interval += 5 * time.Second // RFC 8628 section 3.5
		case errors.As(err, &said) && said.Code == "expired_token":
			return Token{}, ErrTooLate
		default:
			return Token{}, err
		}
	}
}

// ask asks a server something. Servers say errors with any status.
func (e Endpoint) ask(ctx context.Context, client *http.Client, to string, question map[string]string) (answer, error) {
	r, err := e.request(ctx, to, question)
	if err != nil {
		return answer{}, err
	}
	response, err := client.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("ask the authorisation server: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of the authorisation server: %w", err)
	}
	var a answer
	bad := json.Unmarshal(text, &a) != nil
	if response.StatusCode/100 != 2 || len(a.Error) > 0 || bad {
		return answer{}, &Error{Status: response.StatusCode, Code: a.code()}
	}
	return a, nil
}

func (e Endpoint) request(ctx context.Context, to string, question map[string]string) (*http.Request, error) {
	kind, body := "application/json", []byte(nil)
	if e.JSON {
		body, _ = json.Marshal(question) // strings only
	} else {
		form := url.Values{}
		for name, value := range question {
			form.Set(name, value)
		}
		kind, body = "application/x-www-form-urlencoded", []byte(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the authorisation server: %w", err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "moat")
	return r, nil
}

// code is the error's code, if it is one that can be shown.
func (a answer) code() string {
	var code string
	if json.Unmarshal(a.Error, &code) != nil {
		var more struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(a.Error, &more) != nil {
			return ""
		}
		code = more.Type
	}
	if !regexp.MustCompile(`^[a-z0-9_]{1,64}$`).MatchString(code) {
		return ""
	}
	return code
}
