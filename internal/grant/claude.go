package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"moat/internal/grant/oauth"
	"moat/internal/secret"
)

// claude is for the token of a Claude subscription. The API takes it with the client's own header anthropic-beta, which
// is left as it is. It is apart from anthropic because the two are billed differently.
func claude() Provider {
	return Provider{
		Name: "claude", Title: "Claude subscription token", Obtain: "claude setup-token",
		Hosts:    []string{"api.anthropic.com"},
		Rules:    []Rule{{Header: "Authorization", Format: "Bearer {token}", Headers: []string{"X-Api-Key"}}},
		Env:      []Var{{Name: "CLAUDE_CODE_OAUTH_TOKEN"}},
		Shape:    Shape{Prefix: "sk-ant-oat01-", Length: 93, Alphabet: base64URL, Suffix: "AA"},
		Prefixes: []string{"sk-ant-oat"},
		Mistaken: map[string]string{"sk-ant-api": "anthropic"},
		Import:   &Import{From: "~/" + claudeFile, Take: fromClaude},
		Login:    fromClaude,
		OAuth: &authority{oauth.Endpoint{
			TokenURL: "https://console.anthropic.com/v1/oauth/token", Client: "9d1c250a-e61b-44d9-88ed-5944d1962f5e", JSON: true,
		}},
	}
}

// claudeFile is where Claude Code keeps its login on Linux.
const claudeFile = ".claude/.credentials.json"

// fromClaude takes Claude Code's login. Each use of its refresh token makes a new one and ends the old, so of two programs
// that share one the other is logged out; what Claude Code has renewed by itself is looked at first.
func fromClaude(_ context.Context, from Source) (Credential, error) {
	f, err := os.Open(filepath.Join(from.Home, filepath.FromSlash(claudeFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return Credential{}, fmt.Errorf("there is no ~/%s; make a token with: claude setup-token", claudeFile)
	}
	if err != nil {
		return Credential{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return Credential{}, fmt.Errorf("read ~/%s: %w", claudeFile, err)
	}
	var login struct {
		OAuth struct {
			AccessToken string   `json:"accessToken"`
			Refresh     string   `json:"refreshToken"`
			ExpiresAt   int64    `json:"expiresAt"` // milliseconds since 1970
			Scopes      []string `json:"scopes"`
		} `json:"claudeAiOauth"`
	}
	if json.Unmarshal(data, &login) != nil {
		return Credential{}, fmt.Errorf("~/%s is not what Claude Code writes", claudeFile)
	}
	token, err := ParseToken(login.OAuth.AccessToken)
	if err != nil {
		return Credential{}, fmt.Errorf("~/%s has no login that can be used: %w", claudeFile, err)
	}
	c := Credential{Token: token, Scopes: login.OAuth.Scopes, Source: "~/" + claudeFile, Refresh: secret.New(login.OAuth.Refresh)}
	if login.OAuth.ExpiresAt > 0 {
		c.ExpiresAt = time.UnixMilli(login.OAuth.ExpiresAt)
	}
	return c, nil
}
