package run

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if !regexp.MustCompile(`^run-[0-9a-f]{12}$`).MatchString(id) || !IsID(id) || seen[id] {
			t.Fatalf("bad or repeated id %q", id)
		}
		seen[id] = true
	}
}

func TestCheckName(t *testing.T) {
	good := []string{"a", "7", "web", "web-2", "a.b_c-d", "runner", "run-time", "running", "run_a", strings.Repeat("x", 63)}
	bad := []string{
		"", ".", "..", ".lock", "-rf", "_x", "Web", "a b", "a/b", "../x", "a\x00b", "a\nb", "ä", "a\x1b[31m", "run",
		"run-", "run-a", "run-0123456789ab", "run-0123456789abc", strings.Repeat("x", 64), "a:b", "$(id)", "*",
	}
	for _, name := range good {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range bad {
		var ne *NameError
		if err := CheckName(name); !errors.As(err, &ne) || ne.Name != name || strings.ContainsAny(err.Error(), "\x00\n\x1b") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRandomName(t *testing.T) {
	pattern := regexp.MustCompile(`^[a-z]+-[a-z]+$`)
	for _, adjective := range strings.Fields(adjectives) {
		for _, noun := range strings.Fields(nouns) {
			name := adjective + "-" + noun
			if !pattern.MatchString(name) || CheckName(name) != nil {
				t.Errorf("%q is not a good name", name)
			}
		}
	}
	seen := map[string]bool{}
	for range 200 {
		seen[RandomName()] = true
	}
	if len(seen) < 150 {
		t.Errorf("of 200 random names only %d are different", len(seen))
	}
}
