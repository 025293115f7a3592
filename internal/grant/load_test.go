package grant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/config"
	"moat/internal/secret"
)

func TestLoad(t *testing.T) {
	book := newBook(t)
	provide(t, book, "lab", "name: lab\nhosts: [cred.lab.test]\ninject: {header: Authorization, format: 'Basic {basic}', user: me}\nenv: {LAB_TOKEN: placeholder, LAB_URL: 'https://cred.lab.test'}\n")
	save(t, book, Credential{Provider: "github", Scopes: []string{"repo"}})
	save(t, book, Credential{Provider: "lab"})
	ready := load(t, book, "github", "lab", "github", "github:repo")
	if len(ready) != 2 {
		t.Fatalf("%d grants are ready", len(ready))
	}
	g, lab := ready[0], ready[1]
	mark := g.Placeholders[0]
	if diff := cmp.Diff(map[string]string{"GH_TOKEN": mark, "GITHUB_TOKEN": mark}, g.Env); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"LAB_TOKEN": lab.Placeholders[0], "LAB_URL": "https://cred.lab.test"}, lab.Env); diff != "" {
		t.Error(diff)
	}
	if got, err := g.Swap(t.Context(), mark); got != realToken || err != nil {
		t.Errorf("the placeholder stands for %q, %v", got, err)
	}
	for _, other := range []string{"", mark[1:], mark + "x", lab.Placeholders[0], realToken} {
		if got, err := g.Swap(t.Context(), other); err == nil || got != "" {
			t.Errorf("%q stands for %q", other, got)
		}
	}
	inBasic := base64.StdEncoding.EncodeToString([]byte("me:" + realToken))
	if diff := cmp.Diff([]string{realToken, inBasic}, lab.Secrets()); diff != "" {
		t.Error(diff)
	}
	r, err := http.NewRequest("GET", "https://cred.lab.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Inject(t.Context(), r); err != nil || r.Header.Get("Authorization") != "Basic "+inBasic {
		t.Errorf("%v, %v", r.Header, err)
	}
	if err := g.Inject(t.Context(), r); err == nil {
		t.Error("it was put in at the host of another grant")
	}
}

// A run's placeholders are its own, the same after its supervisor was replaced, and tell nothing about the token.
func TestPlaceholders(t *testing.T) {
	book := newBook(t)
	save(t, book, Credential{Provider: "github"})
	save(t, book, Credential{Provider: "npm"})
	first, again := load(t, book, "github", "npm"), load(t, book, "npm", "github")
	if first[0].Placeholders[0] != again[1].Placeholders[0] {
		t.Error("it changed within a run")
	}
	if first[0].Placeholders[0][4:] == first[1].Placeholders[0][4:] {
		t.Error("two grants have the same")
	}
	save(t, book, Credential{Provider: "github", Token: secret.New("ghp_another")})
	if load(t, book, "github")[0].Placeholders[0] != first[0].Placeholders[0] {
		t.Error("it depends on the token")
	}
	other, err := book.Load(t.Context(), []string{"github"}, seed(2))
	if err != nil || other[0].Placeholders[0] == first[0].Placeholders[0] {
		t.Errorf("another run has the same (%v)", err)
	}
	for _, bad := range [][]byte{nil, seed(1)[1:], append(seed(1), 1)} {
		if _, err := book.Load(t.Context(), []string{"github"}, bad); err == nil {
			t.Errorf("a seed of %d bytes was taken", len(bad))
		}
	}
}

func TestUnreadyGrants(t *testing.T) {
	book := newBook(t)
	book.Now = clock("2026-06-01T12:00:00Z")
	save(t, book, Credential{Provider: "claude", ExpiresAt: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)})
	save(t, book, Credential{Provider: "gemini", ExpiresAt: time.Date(2026, 6, 1, 12, 0, 1, 0, time.UTC)})
	save(t, book, Credential{Provider: "openai"})
	save(t, book, Credential{Provider: "github", Scopes: []string{"repo"}})
	sealed := filepath.Join(book.Home, "credentials", "openai.age")
	if err := os.WriteFile(sealed, []byte("age-encryption.org/v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load(t, book, "gemini")
	for name, want := range map[string]error{"npm": secret.ErrNotFound, "claude": ErrExpired, "openai": secret.ErrUnreadable, "github:repo,user": nil} {
		err := book.Check(t.Context(), []string{"gemini", name})
		if !strings.Contains(fmt.Sprint(err), "moat grant "+name) {
			t.Errorf("%s: %v", name, err)
		}
		if unready, ok := errors.AsType[*UnreadyError](err); !ok || unready.Name != name || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	err := book.Check(t.Context(), []string{"npm", "claude"})
	if text := fmt.Sprint(err); !strings.Contains(text, "moat grant npm") || !strings.Contains(text, "moat grant claude") {
		t.Errorf("only one is named: %v", err)
	}
	if err := book.Check(t.Context(), nil); err != nil {
		t.Errorf("no grants: %v", err)
	}
}

// A run that goes on keeps hosts and placeholders of grants that are gone, and they are not put in any more.
func TestResume(t *testing.T) {
	book := newBook(t)
	save(t, book, Credential{Provider: "github"})
	save(t, book, Credential{Provider: "npm"})
	before := load(t, book, "github", "npm")
	if err := book.Store.Remove("github"); err != nil {
		t.Fatal(err)
	}
	after, err := book.Resume(t.Context(), []string{"github", "npm", "gone"}, seed(1))
	if text := fmt.Sprint(err); !strings.Contains(text, "moat grant github") || !strings.Contains(text, `no provider "gone"`) || strings.Contains(text, "npm;") {
		t.Errorf("it says %v", err)
	}
	if len(after) != 2 || !cmp.Equal(after[0].Hosts, before[0].Hosts) || !cmp.Equal(after[0].Env, before[0].Env) || !cmp.Equal(after[0].Placeholders, before[0].Placeholders) {
		t.Fatalf("%+v became %+v", before, after)
	}
	for i, url := range []string{"https://api.github.com/", "https://registry.npmjs.org/"} {
		r, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = after[i].Inject(t.Context(), r)
		if gone := i == 0; errors.Is(err, secret.ErrNotFound) != gone || (len(r.Header) == 0) != gone || (len(after[i].Secrets()) == 0) != gone {
			t.Errorf("%s: %v, %v", url, r.Header, err)
		}
	}
	if got, err := after[0].Swap(t.Context(), before[0].Placeholders[0]); err == nil || got != "" {
		t.Errorf("its placeholder stands for %q, %v", got, err)
	}
}

// A credential that ends while it is in use is not sent any more.
func TestExpiryInUse(t *testing.T) {
	book := newBook(t)
	now := clock("2026-06-01T12:00:00Z")
	book.Now = func() time.Time { return now() }
	save(t, book, Credential{Provider: "github", ExpiresAt: now().Add(time.Hour)})
	g := load(t, book, "github")[0]
	now = clock("2026-06-01T13:00:00Z")
	r, err := http.NewRequest("GET", "https://api.github.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Inject(t.Context(), r); !errors.Is(err, ErrExpired) || len(r.Header) > 0 {
		t.Errorf("%v, %v", err, r.Header)
	}
	if got, err := g.Swap(t.Context(), g.Placeholders[0]); !errors.Is(err, ErrExpired) || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConflict(t *testing.T) {
	book := newBook(t)
	save(t, book, Credential{Provider: "claude"})
	save(t, book, Credential{Provider: "anthropic"})
	conflict, ok := errors.AsType[*ConflictError](book.Check(t.Context(), []string{"claude", "anthropic"}))
	if !ok || *conflict != (ConflictError{"api.anthropic.com", "claude", "anthropic"}) {
		t.Errorf("got %v", conflict)
	}
}

func TestFind(t *testing.T) {
	book := newBook(t)
	for name, near := range map[string]string{"githb": "github", "lba": "", "../github": "github", "": ""} {
		_, err := book.Find(name)
		unknown, ok := errors.AsType[*UnknownError](err)
		if !ok || unknown.Near != near || len(unknown.Known) != len(builtin()) {
			t.Errorf("%q: %#v", name, err)
		}
	}
	provide(t, book, "lab", "name: lab\n")
	provide(t, book, "github", "name: github\n")
	_, err := book.Find("lba")
	if unknown, ok := errors.AsType[*UnknownError](err); !ok || unknown.Near != "lab" {
		t.Errorf("lba: %v", err)
	}
	for _, name := range []string{"lab", "github"} { // one is wrong, one would be ignored
		_, err := book.Find(name)
		if report, ok := errors.AsType[*config.Error](err); !ok || !strings.HasSuffix(report.File, name+".yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := book.Find("npm"); err != nil {
		t.Errorf("the others: %v", err)
	}
}

func TestCredentialIsKeptWhole(t *testing.T) {
	book := newBook(t)
	book.Now = clock("2026-06-01T12:00:00Z")
	want := Credential{Provider: "github", Token: secret.New(realToken), Scopes: []string{"repo"}, ExpiresAt: book.Now().Add(time.Hour), Source: "prompt"}
	save(t, book, want)
	want.CreatedAt = book.Now()
	got, err := book.Read(t.Context(), Ref{Provider: "github"})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got) %v:\n%s", err, diff)
	}
}

// Nothing that is made of a credential shows it.
func TestRedaction(t *testing.T) {
	book := newBook(t)
	save(t, book, Credential{Provider: "github"})
	g := load(t, book, "github")
	c, err := book.Read(t.Context(), Ref{Provider: "github"})
	if err != nil {
		t.Fatal(err)
	}
	u := &use{provider: github(), now: time.Now}
	u.held.Store(&held{credential: c})
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "ready", g[0].Env, "credential", c, "use", u)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "credential", c, "use", u, "book", book)
	text, err := json.Marshal(c)
	shown := []string{log.String(), string(text), fmt.Sprint(err)}
	for _, v := range []any{c, &c, g, u, book} {
		shown = append(shown, fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v))
	}
	for _, s := range shown {
		for _, form := range []string{realToken, fmt.Sprintf("%x", realToken), base64.StdEncoding.EncodeToString([]byte(realToken))} {
			if strings.Contains(s, form) {
				t.Errorf("it is shown: %s", s)
			}
		}
	}
}

func TestClaudeImport(t *testing.T) {
	home := t.TempDir()
	take := func(text string) (Credential, error) {
		dir := filepath.Join(home, ".claude")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, ".credentials.json"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return fromClaude(t.Context(), Source{Home: home})
	}
	got, err := take(`{"claudeAiOauth":{"accessToken":"sk-ant-oat01-x","refreshToken":"r","expiresAt":1780315200000,"scopes":["user:inference"],"subscriptionType":"max"},"other":1}`)
	want := Credential{Token: secret.New("sk-ant-oat01-x"), Scopes: []string{"user:inference"}, Source: "~/.claude/.credentials.json", Refresh: secret.New("r"),
		ExpiresAt: time.UnixMilli(1780315200000)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got) %v:\n%s", err, diff)
	}
	for _, text := range []string{"", "{}", "[]", `{"claudeAiOauth":{"accessToken":""}}`, `{"claudeAiOauth":{"accessToken":"hidden x"}}`, `{"claudeAiOauth":"hidden"}`} {
		if _, err := take(text); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
