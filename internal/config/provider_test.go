package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"

	"moat/internal/policy"
)

func TestParseProvider(t *testing.T) {
	const text = `name: lab
hosts: [API.lab.test, bücher.test., "xn--bcher-kva.example"]
inject: {header: Authorization, format: "Basic {basic}", user: me@example.org}
env:
  LAB_TOKEN: placeholder
  LAB_USER: 42
`
	got, err := ParseProvider("x/lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if at := got.Positions["inject.user"]; at != (Position{"x/lab.yaml", 3, 64}) {
		t.Errorf("position of inject.user: %v", at)
	}
	got.Positions = nil
	want := &Provider{
		File: "x/lab.yaml", Name: "lab", Hosts: []string{"api.lab.test", "xn--bcher-kva.test", "xn--bcher-kva.example"},
		Inject: Inject{Header: "Authorization", Format: "Basic {basic}", User: "me@example.org"},
		Env:    []Var{{"LAB_TOKEN", EnvPlaceholder}, {"LAB_USER", "42"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each line is put into a good file in the place of the one with the same key.
func TestWrongProviders(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "",
		"name: Lab":                     `lab.yaml:1:7: name: "Lab" is not a name for a provider`,
		"name: list":                    `"list" is a command`,
		"name: other":                   `name: "other" is not the name of the file`,
		"name: ../lab":                  "is not a name for a provider",
		"hosts: []":                     "hosts is empty",
		"hosts: lab.test":               "hosts must be a list",
		"hosts: ['*.lab.test']":         "exact names only",
		"hosts: ['*']":                  "exact names only",
		"hosts: [https://lab.test]":     "write the name only",
		"hosts: ['lab.test:8443']":      `port 443 only; write "lab.test"`,
		"hosts: [127.0.0.1]":            "is an address",
		"hosts: ['0x7f.1']":             "is an address",
		"hosts: ['[::1]']":              "is an address",
		"hosts: ['lab..test']":          "is not a host name",
		"hosts: ['lab.test@evil.test']": "is not a host name",
		"hosts: [lab.test, LAB.test.]":  `hosts[1]: "lab.test" is listed twice`,
		"inject: {header: Host, format: '{token}'}":                      `"Host" is not for credentials`,
		"inject: {header: transfer-encoding, format: '{token}'}":         "is not for credentials",
		"inject: {header: 'A: b', format: '{token}'}":                    "is not the name of a header",
		"inject: {header: A, format: Bearer}":                            "must have {token} or {basic} once",
		"inject: {header: A, format: '{token}{token}'}":                  "once",
		"inject: {header: A, format: '{token} {basic}'}":                 "once",
		"inject: {header: A, format: '{token} {user}'}":                  "something else in braces",
		`inject: {header: A, format: "{token}\r\nB: c"}`:                 "cannot be the value of a header",
		"inject: {header: A, format: '{token} '}":                        "cannot be the value of a header",
		"inject: {header: A, format: '{token}', user: me}":               "the format does not use it",
		"inject: {header: A, format: '{basic}', user: 'a:b'}":            "cannot be the user",
		"inject: {header: A}":                                            "inject.format is missing",
		"inject: {format: '{token}'}":                                    "inject.header is missing",
		"inject: {headr: A, format: '{token}'}":                          `unknown key "headr" in inject; did you mean "header"?`,
		"env: {'A B': placeholder}":                                      "not a name for an environment variable",
		"validate: {url: 'https://lab.test/user'}":                       "",
		"validate: {url: 'https://LAB.test', method: POST, status: 404}": "",
		"validate: {}":                                        "validate.url is missing",
		"validate: {url: 'http://lab.test'}":                  "is not an https URL",
		"validate: {url: 'https://lab.test:443/'}":            "has a port",
		"validate: {url: 'https://me@lab.test/'}":             "is not an https URL",
		"validate: {url: 'https://other.test/'}":              `validate.url: "other.test" is not a host of the provider`,
		"validate: {url: 'https://lab.test', method: DELETE}": "write GET, HEAD or POST",
		"validate: {url: 'https://lab.test', status: 99}":     "is not a status",
		"validate: {url: 'https://lab.test', code: 1}":        `unknown key "code"`,
		"header: A": "write it in inject",
	} {
		keys := map[string]string{"name": "name: lab", "hosts": "hosts: [lab.test]", "inject": "inject: {header: A, format: '{token}'}", "env": "env: {}"}
		key, _, _ := strings.Cut(line, ":")
		text := ""
		for _, k := range []string{"name", "hosts", "inject", "env"} {
			if k == key {
				text += line + "\n"
			} else {
				text += keys[k] + "\n"
			}
		}
		if keys[key] == "" {
			text += line + "\n"
		}
		_, err := ParseProvider("lab.yaml", []byte(text))
		report, ok := errors.AsType[*Error](err)
		switch {
		case want == "" && err != nil:
			t.Errorf("the good file: %v", err)
		case want != "" && (!ok || !strings.Contains(report.Error(), want)):
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	_, err := ParseProvider("lab.yaml", nil)
	if want := "name is missing; write name: lab"; err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("an empty file: %v", err)
	}
}

func TestLoadProvider(t *testing.T) {
	home := t.TempDir()
	if p, err := LoadProvider(home, "lab"); p != nil || err != nil {
		t.Errorf("without a folder: %v, %v", p, err)
	}
	for _, name := range []string{"", "../lab", "a/b", "a.b", "A", "list"} {
		if _, err := LoadProvider(home, name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	if err := os.MkdirAll(filepath.Join(home, ProvidersDir, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadProvider(home, "dir"); err == nil || !strings.Contains(err.Error(), "dir.yaml") {
		t.Errorf("a folder: %v", err)
	}
	file := filepath.Join(home, ProvidersDir, "lab.yaml")
	if err := os.WriteFile(file, []byte("name: lab\nhosts: [lab.test]\ninject: {header: A, format: '{token}'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadProvider(home, "lab"); err != nil || p.File != file {
		t.Errorf("got %v, %v", p, err)
	}
}

// Whatever is accepted can be used as it is.
func FuzzParseProvider(f *testing.F) {
	f.Add("name: lab\nhosts: [lab.test]\ninject: {header: Authorization, format: \"Basic {basic}\", user: me}\nenv: {LAB_TOKEN: placeholder}\n")
	f.Add("name: lab\nhosts: [a.b, 1.2.3.4, '[::1]', \"*.x\"]\ninject:\n  header: X-Key\n  format: '{token}'\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProvider("lab.yaml", []byte(text))
		if err != nil {
			report, ok := errors.AsType[*Error](err)
			if !ok || len(report.Problems) == 0 || p != nil {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		for _, name := range p.Hosts {
			if h, err := policy.Name(name); err != nil || h.Name() != name {
				t.Errorf("host %q: %v", name, err)
			}
		}
		value := strings.NewReplacer("{token}", "t", "{basic}", "dDp0").Replace(p.Inject.Format)
		if p.Name != "lab" || len(p.Hosts) == 0 || !httpguts.ValidHeaderFieldName(p.Inject.Header) || !httpguts.ValidHeaderFieldValue(value) || value == p.Inject.Format {
			t.Errorf("accepted %+v", p)
		}
	})
}
