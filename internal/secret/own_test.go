package secret

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestOwnKeyIsMadeOnce(t *testing.T) {
	for name, ring := range map[string]Keyring{"in the keyring": &mapRing{}, "in a file": nil} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			var mu sync.Mutex
			found := map[string]int{}
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					key, _, err := Open(home, ring).OwnKey(t.Context(), "audit", func() (string, string) {
						return "public-" + string(rune('a'+i)), "private-" + string(rune('a'+i))
					})
					mu.Lock()
					defer mu.Unlock()
					if found[key]++; err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if len(found) != 1 {
				t.Errorf("several keys: %v", found)
			}
			data, err := os.ReadFile(filepath.Join(home, "keys", "audit"))
			if err != nil || strings.Contains(string(data), "private") != (ring == nil) {
				t.Errorf("the file has %q, %v", data, err)
			}
			if _, err := Open(home, ring).ReplaceOwnKey(t.Context(), "audit", "public-new", "private-new"); err != nil {
				t.Fatal(err)
			}
			if key, kept, err := Open(home, ring).OwnKey(t.Context(), "audit", nil); key != "private-new" || kept != nil || err != nil {
				t.Errorf("replaced: %q, %v, %v", key, kept, err)
			}
			if err := os.Chmod(filepath.Join(home, "keys", "audit"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(home, ring).OwnKey(t.Context(), "audit", nil); err == nil {
				t.Error("a key that others can read is used")
			}
		})
	}
}

// mapRing is a keyring.
type mapRing struct {
	mu   sync.Mutex
	kept map[string]string
}

func (r *mapRing) Get(account string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if secret, ok := r.kept[account]; ok {
		return secret, nil
	}
	return "", os.ErrNotExist
}

func (r *mapRing) Set(account, secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = make(map[string]string)
	}
	r.kept[account] = secret
	return nil
}
