package grant

import (
	"encoding/json"
	"errors"
	"time"

	"moat/internal/secret"
)

// sealed is a Credential as it is stored; docs/formats.md describes it.
type sealed struct {
	Provider  string     `json:"provider"`
	Profile   string     `json:"profile,omitempty"`
	Token     string     `json:"token"`
	Scopes    []string   `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at"`
	CreatedAt time.Time  `json:"created_at"`
	Source    string     `json:"source"`
	User      string     `json:"user,omitempty"`
	Session   string     `json:"session,omitempty"`
	Region    string     `json:"region,omitempty"`
	SSH       *sealedSSH `json:"ssh,omitempty"`
	Refresh   string     `json:"refresh_token,omitempty"`
	Client    string     `json:"client,omitempty"`
}

type sealedSSH struct {
	Host   string   `json:"host"`
	Public string   `json:"public_key"`
	Keys   []string `json:"host_keys"`
	Socket string   `json:"agent,omitempty"`
}

func (c Credential) marshal() ([]byte, error) {
	s := sealed{
		Provider: c.Provider, Profile: c.Profile, Token: c.Token.Expose(), Scopes: append([]string{}, c.Scopes...),
		CreatedAt: c.CreatedAt.UTC(), Source: c.Source, User: c.User, Session: c.Session.Expose(), Region: c.Region,
		Refresh: c.Refresh.Expose(), Client: c.Client,
	}
	if !c.ExpiresAt.IsZero() {
		end := c.ExpiresAt.UTC()
		s.ExpiresAt = &end
	}
	if c.SSH != nil {
		keys := sealedSSH(*c.SSH)
		s.SSH = &keys
	}
	return json.Marshal(s)
}

func unmarshal(data []byte) (Credential, error) {
	var s sealed
	if json.Unmarshal(data, &s) != nil {
		return Credential{}, errors.New("its content is not a credential")
	}
	token, err := secret.New(s.Token), error(nil) // of ssh: lines, or nothing
	if s.SSH == nil {
		token, err = ParseToken(s.Token)
	}
	if err != nil {
		return Credential{}, err
	}
	c := Credential{
		Provider: s.Provider, Profile: s.Profile, Token: token, Scopes: s.Scopes, CreatedAt: s.CreatedAt, Source: s.Source,
		User: s.User, Session: secret.New(s.Session), Region: s.Region,
		Refresh: secret.New(s.Refresh), Client: s.Client,
	}
	if s.ExpiresAt != nil {
		c.ExpiresAt = *s.ExpiresAt
	}
	if s.SSH != nil {
		keys := SSH(*s.SSH)
		c.SSH = &keys
	}
	return c, nil
}
