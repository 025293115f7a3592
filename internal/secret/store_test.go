package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

// ring is a keyring in memory.
type ring struct {
	mu    sync.Mutex
	items map[string]string
	fail  error  // of every call
	lie   string // what Get returns instead
}

func (r *ring) Get(account string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch text, ok := r.items[account]; {
	case r.fail != nil:
		return "", r.fail
	case r.lie != "":
		return r.lie, nil
	case !ok:
		return "", errors.New("no such item")
	default:
		return text, nil
	}
}

func (r *ring) Set(account, secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if _, there := r.items[account]; there {
		return errors.New("would be replaced")
	}
	if r.items == nil {
		r.items = map[string]string{}
	}
	r.items[account] = secret
	return nil
}

func put(t *testing.T, s *Store, name, data string) *Kept {
	t.Helper()
	kept, err := s.Put(t.Context(), name, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func want(t *testing.T, s *Store, name, data string) {
	t.Helper()
	got, err := s.Get(t.Context(), name)
	if err != nil || string(got) != data {
		t.Errorf("%s holds %q (%v), want %q", name, got, err, data)
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, data []byte, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	for name, r := range map[string]Keyring{"without keyring": nil, "with keyring": &ring{}, "with one that fails": &ring{fail: errors.New("locked")}} {
		t.Run(name, func(t *testing.T) {
			s := Open(filepath.Join(t.TempDir(), "home"), r)
			if names, err := s.List(); err != nil || names != nil {
				t.Errorf("an absent store has %v, %v", names, err)
			}
			if _, err := s.Get(t.Context(), "github"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			if err := s.Remove("github"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Remove: %v", err)
			}
			if _, err := os.Lstat(s.home); !errors.Is(err, fs.ErrNotExist) {
				t.Error("asking made the home")
			}
			kept := put(t, s, "github", `{"token":"a"}`)
			if kept == nil || (kept.File == "") != (name == "with keyring") {
				t.Errorf("the first Put reports %+v", kept)
			}
			if kept := put(t, s, "npm", `{"token":"b"}`); kept != nil {
				t.Errorf("the second Put reports %+v", kept)
			}
			put(t, s, "github", `{"token":"c"}`)
			want(t, Open(s.home, r), "github", `{"token":"c"}`)
			want(t, s, "npm", `{"token":"b"}`)
			names, err := s.List()
			if diff := cmp.Diff([]string{"github", "npm"}, names); diff != "" || err != nil {
				t.Errorf("names (%v):\n%s", err, diff)
			}
			if err := s.Remove("github"); err != nil {
				t.Error(err)
			}
			if _, err := s.Get(t.Context(), "github"); !errors.Is(err, ErrNotFound) {
				t.Errorf("after Remove: %v", err)
			}
		})
	}
}

func TestFilesArePrivateAndSealed(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "github", `{"token":"`+hidden+`"}`)
	err := filepath.WalkDir(s.home, func(path string, d fs.DirEntry, err error) error {
		info, statErr := os.Lstat(path)
		if err != nil || statErr != nil {
			return errors.Join(err, statErr)
		}
		if path != s.home && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !d.IsDir() && bytes.Contains(read(t, path), []byte(hidden)) {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Files and key are ordinary ones of age.
func TestOpensWithAge(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "github", `{"token":"a"}`)
	ids, err := age.ParseIdentities(bytes.NewReader(read(t, s.home, keyFile)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(read(t, s.home, "credentials/github.age")), ids...)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil || string(plain) != `{"version":1,"name":"github","credential":{"token":"a"}}` {
		t.Errorf("age reads %s, %v", plain, err)
	}
	if program, err := exec.LookPath("age"); err == nil {
		out, err := exec.Command(program, "-d", "-i", filepath.Join(s.home, keyFile), filepath.Join(s.home, "credentials/github.age")).Output()
		if err != nil || !bytes.Equal(out, plain) {
			t.Errorf("the program age reads %s, %v", out, err)
		}
	}
}

func TestTamperingIsRefused(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "github", `{"token":"a"}`)
	file := filepath.Join(s.home, "credentials", "github.age")
	good := read(t, file)
	refused := func(what string, data []byte) {
		write(t, data, file)
		if got, err := s.Get(t.Context(), "github"); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: got %s, %v", what, got, err)
		}
	}
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			refused(fmt.Sprintf("byte %d ^ %#x", i, flip), bad)
		}
	}
	for n := range good {
		refused(fmt.Sprintf("cut to %d", n), good[:n])
	}
	refused("longer", append(bytes.Clone(good), 0))
	refused("too large", make([]byte, maxSealed+1))
	write(t, good, file)
	want(t, s, "github", `{"token":"a"}`)
}

func TestExchangedFilesAreRefused(t *testing.T) {
	a, b := Open(t.TempDir(), nil), Open(t.TempDir(), nil)
	put(t, a, "github", `{"token":"a"}`)
	put(t, a, "npm", `{"token":"b"}`)
	put(t, b, "github", `{"token":"c"}`)
	write(t, read(t, a.home, "credentials/npm.age"), a.home, "credentials/github.age")
	if _, err := a.Get(t.Context(), "github"); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "another name") {
		t.Errorf("the file of another name: %v", err)
	}
	write(t, read(t, b.home, "credentials/github.age"), a.home, "credentials/github.age")
	if _, err := a.Get(t.Context(), "github"); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "another key") {
		t.Errorf("the file of another store: %v", err)
	}
	if err := a.Remove("github"); err != nil {
		t.Errorf("what cannot be opened cannot be removed: %v", err)
	}
}

func TestHostileNames(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "github", `{}`)
	before := read(t, s.home, keyFile)
	for _, name := range []string{"", ".", "..", "../keys/identity", "/etc/passwd", "a/b", `a\b`, "a\x00b", "-x", ".lock", "GitHub", "a.b",
		"a b", "a:b", "é", "con.txt", strings.Repeat("a", 64), "a\n", "%2e%2e", "~"} {
		_, putErr := s.Put(t.Context(), name, []byte(`{}`))
		_, getErr := s.Get(t.Context(), name)
		for what, err := range map[string]error{"Put": putErr, "Get": getErr, "Remove": s.Remove(name)} {
			if !errors.Is(err, ErrName) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	if names, err := s.List(); len(names) != 1 || err != nil {
		t.Errorf("names: %q, %v", names, err)
	}
	if !bytes.Equal(before, read(t, s.home, keyFile)) {
		t.Error("the key changed")
	}
}

func TestPermissions(t *testing.T) {
	for path, test := range map[string]struct {
		mode fs.FileMode
		fix  string
	}{
		"credentials":            {0o755, "chmod 700 "},
		"credentials/github.age": {0o640, "chmod 600 "},
		"keys":                   {0o750, "chmod 700 "},
		"keys/identity":          {0o604, "chmod 600 "},
	} {
		s := Open(t.TempDir(), nil)
		put(t, s, "github", `{}`)
		full := filepath.Join(s.home, path)
		if err := os.Chmod(full, test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(t.Context(), "github")
		bad, ok := errors.AsType[*PermissionError](err)
		if !ok || bad.Path != full || bad.Mode != test.mode || bad.Fix != test.fix+"'"+full+"'" {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if out, err := exec.Command("sh", "-c", bad.Fix).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", bad.Fix, err, out)
		}
		want(t, s, "github", `{}`)
	}
}

// A link, a pipe or a folder in the place of a file is neither followed nor waited for.
func TestOddFiles(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink("npm.age", path) },
		"pipe":   func(path string) error { return exec.Command("mkfifo", "-m", "600", path).Run() },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		s := Open(t.TempDir(), nil)
		put(t, s, "npm", `{}`)
		if err := make(filepath.Join(s.home, "credentials", "github.age")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), "github"); err == nil {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestLeftoversAreSwept(t *testing.T) {
	s := Open(t.TempDir(), nil)
	put(t, s, "npm", `{}`)
	left := filepath.Join(s.home, "keys", ".moat-tmp-identity")
	write(t, []byte("x"), left)
	put(t, s, "npm", `{}`)
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there")
	}
}

const envCreator = "MOAT_TEST_SECRET_HOME"

// TestCreatorProcess is what TestTenCreators starts: one Put of its own.
func TestCreatorProcess(t *testing.T) {
	home := os.Getenv(envCreator)
	if home == "" {
		return
	}
	s := Open(home, nil)
	name := fmt.Sprintf("n%d", os.Getpid())
	put(t, s, name, `{}`)
	want(t, s, name, `{}`)
}

// Ten processes that find no key agree on one, and lose nothing.
func TestTenCreators(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	var started []*exec.Cmd
	for range 10 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCreatorProcess$", "-test.count=1")
		c.Env = append(os.Environ(), envCreator+"="+home)
		c.Stdout, c.Stderr = t.Output(), t.Output()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		started = append(started, c)
	}
	for _, c := range started {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	s := Open(home, nil)
	names, err := s.List()
	if len(names) != 10 || err != nil {
		t.Errorf("names: %q, %v", names, err)
	}
	for _, name := range names {
		want(t, s, name, `{}`)
	}
}

func TestConcurrentUseOfOneStore(t *testing.T) {
	r := &ring{}
	home := t.TempDir()
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			s := Open(home, r)
			for j := range 20 {
				if _, err := s.Put(context.Background(), "shared", fmt.Appendf(nil, `{"i":%d,"j":%d}`, i, j)); err != nil {
					t.Error(err)
				}
				if _, err := s.Get(context.Background(), "shared"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	if len(r.items) != 1 {
		t.Errorf("the keyring has %d keys", len(r.items))
	}
}
