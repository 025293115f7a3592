package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddAllow(t *testing.T) {
	for _, c := range []struct{ name, before, pattern, after string }{
		{"no file", "", "a.example", "network:\n  allow:\n    - a.example\n"},
		{"no network", "# mine\nname: web # ours", "*.a.example", "# mine\nname: web # ours\nnetwork:\n  allow:\n    - \"*.a.example\"\n"},
		{"a list", "network:\n  allow: # these\n    - b.example # why\n    # more to come\n  policy: strict\n", "a.example:8080",
			"network:\n  allow: # these\n    - b.example # why\n    - \"a.example:8080\"\n    # more to come\n  policy: strict\n"},
		{"a list without indent, no end of line", "network:\n  allow:\n  - 'b.example'", "a.example", "network:\n  allow:\n  - 'b.example'\n  - a.example"},
		{"a line", "network: # x\n  allow: [b.example, \"*.c.example\"] # y\n", "a.example", "network: # x\n  allow: [b.example, \"*.c.example\", a.example] # y\n"},
		{"several lines", "network:\n  allow: [\n    b.example, # one\n    c.example,\n  ]\n", "a.example", "network:\n  allow: [\n    b.example, # one\n    c.example, a.example,\n  ]\n"},
		{"an empty list", "network:\n  allow: []\n", "a.example", "network:\n  allow: [a.example]\n"},
		{"no list", "network:\n  policy: strict # keep\n", "2001:db8::7", "network:\n  allow: [\"2001:db8::7\"]\n  policy: strict # keep\n"},
		{"braces", "network: {policy: strict}\n", "a.example", "network: {allow: [a.example], policy: strict}\n"},
		{"everything in braces", "{name: web, network: {allow: [b.example]}}\n", "a.example", "{name: web, network: {allow: [b.example, a.example]}}\n"},
		{"other ends of lines", "network:\r\n  allow:\r\n    - b.example\r\n", "a.example", "network:\r\n  allow:\r\n    - b.example\r\n    - a.example\r\n"},
		{"it is there", "network: {allow: [ a.example ]}\n", "a.example", "network: {allow: [ a.example ]}\n"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, AgentFile)
		if c.before != "" {
			if err := os.WriteFile(file, []byte(c.before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := AddAllow(dir, c.pattern); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.after, string(after)); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
		if info, err := os.Stat(file); err != nil || c.before != "" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", c.name, info.Mode())
		}
	}
}

// What cannot be added for sure, or is no configuration, is left alone.
func TestAddAllowNotAtAll(t *testing.T) {
	for _, text := range []string{"name: x\n...\n", "network: {allow: [b.example], polcy: strict}\n"} {
		dir := t.TempDir()
		file := filepath.Join(dir, AgentFile)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := AddAllow(dir, "a.example"); err == nil {
			t.Errorf("%q: no error", text)
		}
		if after, err := os.ReadFile(file); err != nil || string(after) != text {
			t.Errorf("%q became %q", text, after)
		}
	}
}

// FuzzWithAllow: the result means what it meant, and one pattern more; or nothing is changed.
func FuzzWithAllow(f *testing.F) {
	for _, s := range []string{"", "network:\n  allow:\n    - b.example\n", "network: {allow: ['b.example' , ]}", "network:\n allow:\n  - >-\n    b.example\n  - |\n   c.example\n", "\ufeffname: ü\nnetwork: ~\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, err := Parse("x", []byte(text))
		if err != nil {
			return
		}
		added, err := withAllow("x", []byte(text), "added.example")
		if err != nil {
			if !errors.Is(err, ErrNotAdded) {
				t.Fatal(err)
			}
			return
		}
		after, err := Parse("x", added)
		if err != nil || !strings.Contains(strings.Join(after.Network.Allow, " "), "added.example") || after.Name != before.Name {
			t.Fatalf("%q became %q: %v", text, added, err)
		}
		if got, want := strings.Count(string(added), "#"), strings.Count(text, "#"); got != want {
			t.Errorf("%d comments of %d", got, want)
		}
	})
}
