package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// anyTime makes everything old enough.
func anyTime() time.Time { return time.Now().Add(time.Hour) }

func none() ([]string, error) { return nil, nil }

func TestClean(t *testing.T) {
	l := newLab(t)
	shared, own, other := base(t), layer(t, member{name: "own", content: "123"}), layer(t, member{name: "other", content: "4567"})
	first, err := l.Fetch(t.Context(), l.push(t, "first", build(t, v1.Config{}, shared, own)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ref := l.push(t, "second", build(t, v1.Config{}, shared, other))
	if _, err := l.Fetch(t.Context(), ref, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(l.dir, layersDir, newPrefix+"x"), 0o700); err != nil {
		t.Fatal(err)
	}
	inUse := func() ([]string, error) { return []string{first.Digest}, nil }

	got, err := l.Clean(t.Context(), Cleaning{InUse: inUse, Before: anyTime(), DryRun: true})
	if err != nil || len(got.Images) != 1 || got.Images[0].Ref != ref+":latest" || got.Layers != 1 || got.Bytes != 4 || got.Leftovers != 1 {
		t.Errorf("would clean %+v, %v", got, err)
	}
	if n := len(l.stored(t)); n != 4 {
		t.Errorf("a dry run has left %d of 4 folders", n)
	}
	if got, err := l.Clean(t.Context(), Cleaning{InUse: inUse, Before: time.Now().Add(-time.Hour)}); err != nil || len(got.Images) != 0 || got.Leftovers != 1 {
		t.Errorf("what was used lately: %+v, %v", got, err)
	}
	if got, err := l.Clean(t.Context(), Cleaning{InUse: inUse, Before: anyTime()}); err != nil || got.Layers != 1 {
		t.Errorf("cleaned %+v, %v", got, err)
	}
	if _, release, err := l.Layers(t.Context(), first.Digest); err != nil {
		t.Errorf("what is in use is gone: %v", err)
	} else {
		release()
	}
	if n := len(l.stored(t)); n != 2 {
		t.Errorf("%d folders, want the two that are in use", n)
	}
	if _, err := l.Clean(t.Context(), Cleaning{InUse: none, Before: anyTime()}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{refsDir, manifestsDir, layersDir} {
		if left, err := os.ReadDir(filepath.Join(l.dir, dir)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
	if _, _, err := l.Layers(t.Context(), first.Digest); !errors.Is(err, ErrGone) {
		t.Errorf("layers of what was removed: %v", err)
	}
}

func TestCleanDoesNotDisturb(t *testing.T) {
	l := newLab(t)
	if got, err := l.Clean(t.Context(), Cleaning{InUse: none}); err != nil || got.Busy {
		t.Errorf("without a store: %+v, %v", got, err)
	}
	img, err := l.Fetch(t.Context(), l.push(t, "x", build(t, v1.Config{}, base(t))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := l.Layers(t.Context(), img.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Clean(t.Context(), Cleaning{InUse: none, Before: anyTime()}); err != nil || !got.Busy {
		t.Errorf("while a run starts: %+v, %v", got, err)
	}
	release()
	failed := errors.New("no list")
	if _, err := l.Clean(t.Context(), Cleaning{InUse: func() ([]string, error) { return nil, failed }, Before: anyTime()}); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if n := len(l.stored(t)); n != 1 {
		t.Errorf("%d layers are left", n)
	}
}

// TestDamage takes away parts of the store: what is left is not taken for an image, and a pull mends it.
func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(file string) error
	}{
		{"gone", os.RemoveAll},
		{"empty", func(file string) error { return os.Truncate(file, 0) }},
		{"torn", func(file string) error { return os.Truncate(file, 10) }},
		{"newer", func(file string) error { return os.WriteFile(file, []byte(`{"version": 2}`), 0o600) }},
	} {
		for _, where := range []string{refsDir, manifestsDir, layersDir} {
			t.Run(test.name+" "+where, func(t *testing.T) {
				l := newLab(t)
				ref := l.push(t, "x", build(t, v1.Config{}, base(t)))
				want, err := l.Fetch(t.Context(), ref, Options{})
				if err != nil {
					t.Fatal(err)
				}
				pattern := filepath.Join(l.dir, where, "*.json")
				if where == layersDir {
					pattern = filepath.Join(l.dir, where, "*", layerFile)
				}
				files, err := filepath.Glob(pattern)
				if err != nil || len(files) != 1 {
					t.Fatalf("%v, %v", files, err)
				}
				if err := test.damage(files[0]); err != nil {
					t.Fatal(err)
				}
				if _, err := l.byRef(ref); !errors.Is(err, errAbsent) {
					t.Errorf("it counts as there: %v", err)
				}
				got, err := l.Fetch(t.Context(), ref, Options{})
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

func TestOpaqueLayerHidesThoseBelow(t *testing.T) {
	l := newLab(t)
	img, err := l.Fetch(t.Context(), l.push(t, "x", build(t, v1.Config{}, base(t), layer(t, member{name: ".wh..wh..opq"}, member{name: "only"}), top(t))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	dirs, release, err := l.Layers(t.Context(), img.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if len(dirs) != 2 || len(img.Layers) != 3 {
		t.Errorf("%v of %v", dirs, img.Layers)
	}
	if img.Account.Name != "root" {
		t.Errorf("%+v is of a passwd that is hidden", img.Account)
	}
}

func TestAccount(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34::/var/www:\nbroken:x:zz:1:::\n" +
		"rel:x:40:40::relative:\n1000:x:50:51::/named:\nlast:x:1000:1000::/home/last"
	const group = "root:x:0:\nstaff:x:50:\n"
	for _, test := range []struct {
		user string
		want Account
		ok   bool
	}{
		{"", Account{0, 0, "root", "/root"}, true},
		{"0", Account{0, 0, "root", "/root"}, true},
		{"web", Account{33, 34, "web", "/var/www"}, true},
		{"33", Account{33, 34, "web", "/var/www"}, true},
		{"web:staff", Account{33, 50, "web", "/var/www"}, true},
		{"web:7", Account{33, 7, "web", "/var/www"}, true},
		{"web:", Account{33, 34, "web", "/var/www"}, true},
		{"65532:65532", Account{65532, 65532, "", "/"}, true},
		{"77", Account{77, 0, "", "/"}, true},
		{"rel", Account{40, 40, "rel", "/"}, true},
		{"last", Account{1000, 1000, "last", "/home/last"}, true},
		{":staff", Account{0, 50, "root", "/root"}, true},
		{"who", Account{}, false},
		{"broken", Account{}, false},
		{"web:who", Account{}, false},
		{"4294967295", Account{}, false},
		{"-1", Account{}, false},
		{"web:4294967295", Account{}, false},
	} {
		got, err := account(test.user, []byte(passwd), []byte(group))
		if (err == nil) != test.ok || test.ok && got != test.want {
			t.Errorf("%q: %+v, %v; want %+v", test.user, got, err, test.want)
		}
	}
	if got, err := account("", nil, nil); err != nil || got != (Account{0, 0, "root", "/root"}) {
		t.Errorf("without a passwd: %+v, %v", got, err)
	}
}

// TestLayeredFile reads a file as an overlay would show it, from layers that may be hostile.
func TestLayeredFile(t *testing.T) {
	fifo := func(p string) error { return unix.Mkfifo(p, 0o600) }
	white := func(p string) error { return unix.Mknod(p, unix.S_IFCHR, 0) }
	link := func(p string) error { return os.Symlink("/etc/passwd", p) }
	dir := func(p string) error { return os.Mkdir(p, 0o755) }
	write := func(text string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(text), 0o600) }
	}
	opaque := func(p string) error { return unix.Setxattr(filepath.Dir(p), opaqueAttr, []byte("y"), 0) }
	for _, test := range []struct {
		name   string
		layers []func(string) error // make etc/passwd, the lowest first; nil: there is only etc
		want   string
	}{
		{"one", []func(string) error{write("a")}, "a"},
		{"the upper", []func(string) error{write("a"), write("b")}, "b"},
		{"the lower", []func(string) error{write("a"), nil}, "a"},
		{"removed", []func(string) error{write("a"), white}, ""},
		{"hidden", []func(string) error{write("a"), opaque}, ""},
		{"a fifo", []func(string) error{write("a"), fifo}, ""},
		{"a link", []func(string) error{write("a"), link}, ""},
		{"a directory", []func(string) error{write("a"), dir}, ""},
		{"none", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var layers []string
			for _, make := range test.layers {
				layer := t.TempDir()
				layers = append(layers, layer)
				if err := os.Mkdir(filepath.Join(layer, "etc"), 0o755); err != nil {
					t.Fatal(err)
				}
				if make == nil {
					continue
				}
				if err := make(filepath.Join(layer, "etc", "passwd")); err != nil {
					t.Fatal(err)
				}
			}
			got, err := layeredFile(layers, "etc", "passwd")
			if err != nil || string(got) != test.want {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestDigestsNameFilesSafely(t *testing.T) {
	for _, digest := range []string{"", "sha256:", "sha256:../../x", "sha512:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 64) + "/x"} {
		if _, err := hexOf(digest); !errors.Is(err, ErrHostile) {
			t.Errorf("%q: %v", digest, err)
		}
	}
}
