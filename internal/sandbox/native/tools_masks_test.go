//go:build linux

package native

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretName(t *testing.T) {
	for name, want := range map[string]bool{
		".npmrc": true, "_netrc": true, ".env": true, ".env.local": true, ".env.example": false, "env": false, "credentials": true,
		"Credentials.JSON": true, ".credentials.json": true, "credentials.go": false, "tls.key": true, "store.P12": true,
		"github_api_token": true, "token.py": false, "tokenizer": false, "auth.json": true, "id_rsa": true, "id_rsa.pub": false,
		"hosts.yml": true, "package.json": false, "cacert.pem": false, "node": false, "keys.md": false,
	} {
		if got := secretName(name); got != want {
			t.Errorf("secretName(%q) = %v", name, got)
		}
	}
}

func TestHoldsSecret(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"a.toml": "[build]\njobs = 4", "b.toml": "token = 1", "c.toml": "index = 'https://me:pw@host/simple'", "d.toml": "url = 'https://host/a@b'",
		"e.toml": "author = 'x'", "f.json": `{"auths": {}}`, "g.pem": "-----BEGIN CERTIFICATE-----\ntoken", "h.pem": "-----BEGIN EC PRIVATE KEY-----",
		"i.xml": "<Password>x</Password>", "link": "-> b.toml", "dangling": "-> gone", "dir/x": "x",
	})
	mkfifo(t, filepath.Join(dir, "fifo"))
	okay(t, os.WriteFile(filepath.Join(dir, "large.toml"), []byte(strings.Repeat(" ", maxFile+1)), 0o644))
	g := newGround(Machine(dir, nil), Wanted{})
	for name, want := range map[string]bool{
		"a.toml": false, "b.toml": true, "c.toml": true, "d.toml": false, "e.toml": false, "f.json": true, "g.pem": false, "h.pem": true,
		"i.xml": true, "link": true, "dangling": false, "gone": false, "dir": false, "fifo": true, "large.toml": true,
	} {
		if got := g.holdsSecret(filepath.Join(dir, name)); got != want {
			t.Errorf("holdsSecret(%s) = %v", name, got)
		}
	}
}
