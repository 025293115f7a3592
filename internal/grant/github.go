package grant

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"moat/internal/grant/oauth"
)

// github is for the API, and for git and LFS over HTTPS, which take Basic authentication only. The forms of tokens:
// https://github.blog/engineering/behind-githubs-new-authentication-token-formats/
func github() Provider {
	return Provider{
		Name: "github", Title: "GitHub token", Obtain: "https://github.com/settings/personal-access-tokens",
		Hosts: []string{"github.com", "api.github.com", "uploads.github.com"},
		Reach: []string{"codeload.github.com", "raw.githubusercontent.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com"},
		Rules: []Rule{
			{Hosts: []string{"github.com"}, Header: "Authorization", Format: "Basic {basic}", User: "x-access-token"},
			{Header: "Authorization", Format: "Bearer {token}"},
		},
		Env:      []Var{{Name: "GH_TOKEN"}, {Name: "GITHUB_TOKEN"}},
		Shape:    Shape{Prefix: "ghp_", Length: 36, Alphabet: alphanumeric},
		Prefixes: []string{"github_pat_", "ghp_", "gho_", "ghu_", "ghs_"},
		Scoped:   true,
		Import:   &Import{From: "gh auth token", Take: fromGH},
		OAuth: &authority{oauth.Endpoint{
			DeviceURL: "https://github.com/login/device/code", TokenURL: "https://github.com/login/oauth/access_token",
		}},
	}
}

// ghTime bounds the program gh, which may have to ask a keyring.
const ghTime = 30 * time.Second

// fromGH asks GitHub's own program, as whom the person is logged in.
func fromGH(ctx context.Context, _ Source) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, ghTime)
	defer cancel()
	out, err := ask(ctx, "gh", "auth", "token", "--hostname", "github.com")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return Credential{}, errors.New("the program gh is not installed")
	case err != nil:
		return Credential{}, fmt.Errorf("gh is not logged in to github.com (try: gh auth login): %w", err)
	}
	token, err := ParseToken(out)
	if err != nil {
		return Credential{}, fmt.Errorf("what gh printed cannot be used: %w", err)
	}
	return Credential{Token: token, Source: "gh auth token"}, nil
}
