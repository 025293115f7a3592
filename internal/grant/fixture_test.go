package grant

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/config"
	"moat/internal/secret"
)

const realToken = "ghp_ThisIsTheRealOne0123456789"

// newBook is a book of its own, without a keyring.
func newBook(t *testing.T) *Book {
	t.Helper()
	home := t.TempDir()
	return &Book{Home: home, Store: secret.Open(home, nil)}
}

// save stores a credential for a provider.
func save(t *testing.T, b *Book, c Credential) {
	t.Helper()
	if c.Token.IsZero() {
		c.Token = secret.New(realToken)
	}
	if _, err := b.Save(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// provide writes the file of a provider.
func provide(t *testing.T, b *Book, name, text string) {
	t.Helper()
	dir := filepath.Join(b.Home, config.ProvidersDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func seed(fill byte) []byte { return bytes.Repeat([]byte{fill}, SeedSize) }

func load(t *testing.T, b *Book, names ...string) []Ready {
	t.Helper()
	ready, err := b.Load(t.Context(), names, seed(1))
	if err != nil {
		t.Fatal(err)
	}
	return ready
}

func clock(at string) func() time.Time {
	return func() time.Time {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			panic(err)
		}
		return now
	}
}
