package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"filippo.io/age"
)

func TestKeyInKeyringIsNotInFiles(t *testing.T) {
	r := &ring{}
	s := Open(t.TempDir(), r)
	if kept := put(t, s, "github", `{}`); kept == nil || kept.File != "" || kept.Why != nil {
		t.Errorf("the key was kept as %+v", kept)
	}
	if text := read(t, s.home, keyFile); bytes.Contains(text, []byte("SECRET")) || len(r.items) != 1 {
		t.Errorf("the file says %s", text)
	}
}

// A keyring that is locked for a while is an error; it is never a reason for another key.
func TestLockedKeyring(t *testing.T) {
	r := &ring{}
	s := Open(t.TempDir(), r)
	put(t, s, "github", `{"token":"a"}`)
	before := read(t, s.home, keyFile)
	for name, ring := range map[string]Keyring{"locked": &ring{fail: errors.New("locked")}, "none": nil, "emptied": &ring{}, "lying": &ring{lie: "x"}} {
		s := Open(s.home, ring)
		if _, err := s.Get(t.Context(), "github"); !errors.Is(err, ErrKey) {
			t.Errorf("%s: Get: %v", name, err)
		}
		if _, err := s.Put(t.Context(), "npm", []byte(`{}`)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: Put: %v", name, err)
		}
	}
	if !bytes.Equal(before, read(t, s.home, keyFile)) {
		t.Error("the key file changed")
	}
	want(t, s, "github", `{"token":"a"}`)
}

// A keyring that does not give back what it was given is not used.
func TestForgetfulKeyring(t *testing.T) {
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range []string{"nonsense", other.String()} {
		s := Open(t.TempDir(), &ring{lie: lie})
		if kept := put(t, s, "github", `{}`); kept == nil || kept.File == "" || kept.Why == nil {
			t.Errorf("the key was kept as %+v", kept)
		}
		want(t, s, "github", `{}`)
	}
}

// A keyring that waits for a password that nobody types does not hold up the person for ever.
func TestSilentKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		question := func(Keyring) (string, error) { <-wait; return "", nil }
		done := make(chan error)
		go func() {
			_, err := askRing(t.Context(), &ring{}, question)
			done <- err
		}()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("got %v", err)
		}
		close(wait)
	})
}

func TestKeyFileIsNeverReplaced(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.Mkdir(dirKeys, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := create(root, keyFile, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := create(root, keyFile, []byte("second")); !errors.Is(err, os.ErrExist) {
		t.Errorf("second: %v", err)
	}
	if got, err := root.ReadFile(keyFile); err != nil || string(got) != "first" {
		t.Errorf("it holds %q, %v", got, err)
	}
	if names, _ := filepath.Glob(filepath.Join(root.Name(), dirKeys, "*")); len(names) != 1 {
		t.Errorf("the folder has %q", names)
	}
}

func TestDamagedKeyFile(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "github", `{}`)
	good := string(read(t, s.home, keyFile))
	secret := good[strings.Index(good, "AGE-SECRET"):]
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "noise": "\x00\xff", "comment only": "# nothing\n", "half a key": good[:len(good)-9], "two keys": good + secret,
		"two names": strings.Repeat(strings.Split(good, "\n")[1]+"\n", 2), "another name": publicLine + other.Recipient().String() + "\n" + secret,
		"too long": strings.Repeat("#\n", maxKeyFile),
	} {
		write(t, []byte(text), s.home, keyFile)
		_, err := s.Put(t.Context(), "npm", []byte(`{}`))
		if !errors.Is(err, ErrKey) && !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
		if string(read(t, s.home, keyFile)) != text {
			t.Errorf("%s: the file was replaced", name)
		}
	}
	write(t, []byte(secret), s.home, keyFile) // as age-keygen's, without comments
	want(t, s, "github", `{}`)
	if err := os.Remove(filepath.Join(s.home, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "github"); !errors.Is(err, ErrKey) {
		t.Errorf("missing: %v", err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(headFile + publicLine + "age1\nAGE-SECRET-KEY-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		key, public, err := parseKey(text)
		if err == nil && key == nil && public == "" {
			t.Error("neither key nor error")
		}
	})
}
