package grant

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"moat/internal/secret"
)

func TestRefs(t *testing.T) {
	for text, want := range map[string]Ref{
		"github": {Provider: "github"}, "github:repo,read:org": {Provider: "github", Scopes: []string{"repo", "read:org"}},
		"github@work": {Provider: "github", Profile: "work"}, "github:repo@work": {Provider: "github", Scopes: []string{"repo"}, Profile: "work"},
		"ssh:GitHub.com": {Provider: "ssh", Host: "github.com"}, "ssh:lab@work": {Provider: "ssh", Host: "lab", Profile: "work"},
	} {
		got, err := ParseRef(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, %s", text, err, diff)
		}
		got.Scopes = nil
		if again := refOf(got.key()); !cmp.Equal(again, got) || secret.CheckName(got.key()) != nil {
			t.Errorf("%s is stored as %s, which is %+v", text, got.key(), again)
		}
	}
	for _, text := range []string{"github@", "github@Work", "github@a.b", "ssh", "ssh:", "ssh:git@github.com", "ssh:1.2.3.4", "ssh:a b", "ssh:github.com:22", "ssh:../x"} {
		if _, err := ParseRef(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestParseKey(t *testing.T) {
	locked, err := os.ReadFile("testdata/locked") // its passphrase is "open"; making one takes long
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile("testdata/locked.pub")
	if err != nil {
		t.Fatal(err)
	}
	want, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ParseKey(locked, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("locked: %v", err)
	}
	if _, _, err := ParseKey(locked, []byte("wrong")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	private, public, err := ParseKey(locked, []byte("open"))
	if err != nil || Authorized(public) != Authorized(want) {
		t.Fatalf("%v, %v", public, err)
	}
	if again, err := ssh.ParsePrivateKey([]byte(private.Expose())); err != nil || Authorized(again.PublicKey()) != Authorized(public) {
		t.Errorf("what is stored: %v", err)
	}
	private, public, err = ParseKey([]byte(Authorized(want)+" me@here\n"), nil)
	if err != nil || !private.IsZero() || Authorized(public) != Authorized(want) {
		t.Errorf("public: %v", err)
	}
	for _, text := range []string{"", "hidden", "-----BEGIN OPENSSH PRIVATE KEY-----\naGlkZGVu\n-----END OPENSSH PRIVATE KEY-----\n"} {
		if _, _, err := ParseKey([]byte(text), nil); !errors.Is(err, ErrKeyFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A host is known by its plain and its hashed lines, and a stored key comes back as it was.
func TestSSHGrant(t *testing.T) {
	book := newBook(t)
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	line := Authorized(signer.PublicKey())
	known := fmt.Sprintf("plain.test %s\n%s\n[other.test]:2222 %s\n", line, knownhosts.Line([]string{knownhosts.HashHostname("hashed.test")}, signer.PublicKey()), line)
	if err := errors.Join(os.Mkdir(filepath.Join(book.Home, ".ssh"), 0o700), os.WriteFile(filepath.Join(book.Home, ".ssh", "known_hosts"), []byte(known), 0o600)); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]string{"plain.test": {line}, "hashed.test": {line}, "other.test": nil} {
		if got, err := KnownHost(book.Home, host); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", host, got, err)
		}
	}
	block, err := ssh.MarshalPrivateKey(raw, "")
	if err != nil {
		t.Fatal(err)
	}
	c := Credential{Provider: "ssh", Token: secret.New(string(pem.EncodeToMemory(block))), SSH: &SSH{Host: "plain.test", Public: line, Keys: []string{line}}}
	save(t, book, c)
	g := load(t, book, "ssh:plain.test")[0]
	if g.SSH == nil || g.SSH.Name != "plain.test" || !cmp.Equal(g.Through, []string{"plain.test:22"}) || len(g.Hosts) > 0 || len(g.Env) > 0 || Authorized(g.SSH.Key.PublicKey()) != line {
		t.Errorf("%+v", g)
	}
	c.SSH.Socket = filepath.Join(book.Home, "no-agent")
	save(t, book, c)
	if unready, ok := errors.AsType[*UnreadyError](book.Check(t.Context(), []string{"ssh:plain.test"})); !ok || unready.Name != "ssh:plain.test" {
		t.Errorf("an agent that is not there: %v", unready)
	}
	refs, err := book.List()
	if err != nil || len(refs) != 1 || refs[0].Name() != "ssh:plain.test" {
		t.Errorf("%v, %v", refs, err)
	}
}
