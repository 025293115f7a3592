package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// unpackTo unpacks an archive into the folder "in" of dir, with limits that a test may exhaust.
func unpackTo(t testing.TB, dir string, data []byte, limits Limits) (unpacked, error) {
	t.Helper()
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unpack(t.Context(), bytes.NewReader(data), int(f.Fd()), &budget{limits: limits.withDefaults()})
}

// listing describes everything below dir, a line each: kind and mode, name, and what it holds.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		kind, what := "?", ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			kind, what = "-", string(data)
		case unix.S_IFDIR:
			kind = "d"
			var flag [8]byte
			if n, err := unix.Lgetxattr(p, opaqueAttr, flag[:]); err == nil {
				what = "opaque=" + string(flag[:n])
			}
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			kind, what = "l", to
		case unix.S_IFIFO:
			kind = "p"
		case unix.S_IFCHR:
			kind, what = "c", fmt.Sprint(st.Rdev)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s%04o %s %s", kind, st.Mode&0o7777, rel, what)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestUnpack(t *testing.T) {
	for _, test := range []struct {
		name    string
		members []member
		want    []string
		opaque  bool
	}{
		{name: "nothing"},
		{
			name: "what honest archives have",
			members: []member{
				{name: "./"}, {name: "./bin/"}, {name: "./bin/sh", mode: 0o755, content: "x"}, {name: "/abs", content: "y"},
				{name: "bin/bash", kind: tar.TypeLink, link: "./bin/sh"}, {name: "bin/ash", kind: tar.TypeSymlink, link: "sh"},
				{name: "tmp/", mode: 0o1777}, {name: "pipe", kind: tar.TypeFifo, mode: 0o644}, {name: "no/parents/file", content: "z"},
				{name: "a/../b", content: "b"},
			},
			want: []string{
				"-0644 abs y", "-0644 b b", "d0755 bin", "l0777 bin/ash sh", "-0755 bin/bash x", "-0755 bin/sh x",
				"d0755 no", "d0755 no/parents", "-0644 no/parents/file z", "p0644 pipe", "d1777 tmp",
			},
		},
		{
			name: "modes",
			members: []member{
				{name: "su", mode: 0o6755}, {name: "sg/", mode: 0o2775}, {name: "closed/", mode: 0o1}, {name: "closed/file", mode: 0o4}, {name: "hard", kind: tar.TypeLink, link: "su"},
			},
			want: []string{"d0701 closed", "-0604 closed/file", "-0755 hard", "d0775 sg", "-0755 su"},
		},
		{
			name: "devices, and what is no file",
			members: []member{
				{name: "null", kind: tar.TypeChar}, {name: "disk", kind: tar.TypeBlock}, {name: "contiguous", kind: tar.TypeCont, content: ""},
				{name: "of/a/device", kind: tar.TypeChar},
			},
			want: []string{"-0644 contiguous"},
		},
		{
			name: "attributes",
			members: []member{
				{name: "dir/", pax: map[string]string{"SCHILY.xattr.user.overlay.opaque": "y"}},
				{name: "file", pax: map[string]string{"SCHILY.xattr.security.capability": "x", "SCHILY.xattr.user.overlay.redirect": "/etc"}},
			},
			want: []string{"d0755 dir", "-0644 file"},
		},
		{
			name:    "the later one counts",
			members: []member{{name: "f", content: "1"}, {name: "f", content: "2"}, {name: "d/x", content: "1"}, {name: "d", content: "file"}, {name: "f/"}, {name: "f/in", content: "3"}},
			want:    []string{"-0644 d file", "d0755 f", "-0644 f/in 3"},
		},
		{
			name:    "a directory twice",
			members: []member{{name: "d/", mode: 0o700}, {name: "d/x"}, {name: "d/", mode: 0o755}},
			want:    []string{"d0755 d", "-0644 d/x"},
		},
		{
			name:    "a link to a link's directory",
			members: []member{{name: "real/"}, {name: "link", kind: tar.TypeSymlink, link: "/real"}, {name: "link/file", content: "x"}, {name: "dir/"}, {name: "dir", kind: tar.TypeSymlink, link: "real"}},
			want:    []string{"l0777 dir real", "l0777 link /real", "d0755 real", "-0644 real/file x"},
		},
		{
			name:    "whiteouts",
			members: []member{{name: "etc/.wh.passwd"}, {name: ".wh.gone"}, {name: ".wh..wh.plnk/", mode: 0o700}, {name: ".wh..wh.aufs"}},
			want:    []string{"d0755 etc", "c0000 etc/passwd 0", "c0000 gone 0"},
		},
		{
			name: "whiteouts of what the layer has itself",
			members: []member{
				{name: "f", content: "x"}, {name: ".wh.f"}, {name: ".wh.g"}, {name: "g", content: "y"}, {name: "d/"}, {name: ".wh.d"}, {name: ".wh.e"}, {name: "e/"},
				{name: ".wh.h"}, {name: "h/implied"},
			},
			want: []string{"d0755 d opaque=y", "d0755 e opaque=y", "-0644 f x", "-0644 g y", "d0755 h opaque=y", "-0644 h/implied"},
		},
		{
			name:    "opaque directories",
			members: []member{{name: "d/"}, {name: "d/x"}, {name: "d/.wh..wh..opq"}, {name: "new/.wh..wh..opq"}},
			want:    []string{"d0755 d opaque=y", "-0644 d/x", "d0755 new opaque=y"},
		},
		{name: "an opaque root", members: []member{{name: ".wh..wh..opq"}, {name: "x"}}, want: []string{"-0644 x"}, opaque: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			made, err := unpackTo(t, dir, archive(t, test.members...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, listing(t, filepath.Join(dir, "in"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if made.opaque != test.opaque {
				t.Errorf("opaque: %v", made.opaque)
			}
		})
	}
}

func TestUnpackKeepsTimes(t *testing.T) {
	dir := t.TempDir()
	_, err := unpackTo(t, dir, archive(t, member{name: "d/"}, member{name: "d/f"}, member{name: "d/l", kind: tar.TypeSymlink, link: "nowhere"}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "d/f", "d/l"} {
		if fi, err := os.Lstat(filepath.Join(dir, "in", name)); err != nil || !fi.ModTime().Equal(modified()) {
			t.Errorf("%s was changed at %v, want %v (%v)", name, fi.ModTime(), modified(), err)
		}
	}
}

// TestUnpackStaysInside gives archives that were made to reach out. Whether they are refused or tamed, nothing outside changes.
func TestUnpackStaysInside(t *testing.T) {
	long := strings.Repeat("d/", maxDepth+1)
	for _, test := range []struct {
		name    string
		members func(outside string) []member
		refused bool
	}{
		{"name with dots", func(string) []member { return []member{{name: "../outside/file", content: "x"}} }, true},
		{"name with dots inside", func(string) []member { return []member{{name: "a/../../outside/file", content: "x"}} }, true},
		{"absolute name with dots", func(string) []member { return []member{{name: "/../../outside/file", content: "x"}} }, true},
		{"directory of dots", func(string) []member { return []member{{name: "../outside/", mode: 0o777}} }, true},
		{"absolute name", func(out string) []member { return []member{{name: out + "/file", content: "x"}} }, false},
		{"through an absolute link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out}, {name: "l/file", content: "x"}}
		}, true}, // a link to what is not in the layer
		{"through a link with dots", func(string) []member {
			return []member{{name: "outside/"}, {name: "l", kind: tar.TypeSymlink, link: "../outside"}, {name: "l/file", content: "x"}}
		}, false},
		{"through a link in two steps", func(string) []member {
			return []member{{name: "a", kind: tar.TypeSymlink, link: ".."}, {name: "b", kind: tar.TypeSymlink, link: "a/outside"}, {name: "b/file", content: "x"}}
		}, true},
		{"over a link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out + "/file"}, {name: "l", content: "x"}}
		}, false},
		{"a directory over a link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out}, {name: "l/", mode: 0o777}, {name: "l/file", content: "x"}}
		}, false},
		{"the time of a directory that became a link", func(out string) []member {
			return []member{{name: "l/sub/"}, {name: "l", kind: tar.TypeSymlink, link: out}}
		}, false},
		{"whiteout through a link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out}, {name: "l/.wh.file"}}
		}, true},
		{"opaque through a link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out}, {name: "l/.wh..wh..opq"}}
		}, true},
		{"whiteout of dots", func(string) []member { return []member{{name: "d/.wh..."}, {name: "d/.wh..", mode: 0o600}} }, true},
		{"whiteout of nothing", func(string) []member { return []member{{name: ".wh."}} }, true},
		{"hard link out", func(out string) []member {
			return []member{{name: "h", kind: tar.TypeLink, link: out + "/file"}, {name: "h", content: "x"}}
		}, true},
		{"hard link with dots", func(string) []member { return []member{{name: "h", kind: tar.TypeLink, link: "../outside/file"}} }, true},
		{"hard link through a link", func(out string) []member {
			return []member{{name: "l", kind: tar.TypeSymlink, link: out}, {name: "h", kind: tar.TypeLink, link: "l/file"}}
		}, true},
		{"hard link to a link", func(out string) []member { // which is of use to nobody outside
			return []member{{name: "l", kind: tar.TypeSymlink, link: out + "/file"}, {name: "h", kind: tar.TypeLink, link: "l"}, {name: "h", content: "x"}}
		}, false},
		{"hard link to a whiteout", func(string) []member { return []member{{name: ".wh.w"}, {name: "h", kind: tar.TypeLink, link: "w"}} }, true},
		{"hard link to a directory", func(string) []member { return []member{{name: "d/"}, {name: "h", kind: tar.TypeLink, link: "d"}} }, true},
		{"hard link to itself", func(string) []member {
			return []member{{name: "h", content: "x"}, {name: "h", kind: tar.TypeLink, link: "h"}}
		}, false},
		{"too deep", func(string) []member { return []member{{name: long, content: ""}} }, true},
		{"too deep by links", func(string) []member {
			half := strings.Repeat("d/", maxDepth-2)
			return []member{{name: half}, {name: "l", kind: tar.TypeSymlink, link: half}, {name: "l/d/d/d/f"}, {name: "m", kind: tar.TypeSymlink, link: "l/d/d/d"}, {name: "m/d/f"}}
		}, true},
		{"a circle of links", func(string) []member { return []member{{name: "l", kind: tar.TypeSymlink, link: "l"}, {name: "l/f"}} }, true},
		{"the kernel's links", func(string) []member {
			return []member{{name: "p", kind: tar.TypeSymlink, link: "/proc/self/root"}, {name: "p/f"}}
		}, true},
		{"long name", func(string) []member { return []member{{name: strings.Repeat("x", 300)}} }, true},
		{"longer name", func(string) []member { return []member{{name: strings.Repeat("xxxxxxx/", 600) + "x"}} }, true},
		{"longest name", func(string) []member { return []member{{name: strings.Repeat("x", 500_000)}} }, true},
		{"a directory named like its own parent", func(string) []member { return []member{{name: "d/..", kind: tar.TypeDir}, {name: "."}} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			outside := filepath.Join(dir, "outside")
			for _, d := range []string{outside, outside + "/sub"} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(outside, "file"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, outside)
			_, err := unpackTo(t, dir, archive(t, test.members(outside)...), Limits{})
			if refused := err != nil; refused != test.refused {
				t.Errorf("refused: %v (%v)", refused, err)
			}
			if diff := cmp.Diff(before, snapshot(t, outside)); diff != "" {
				t.Errorf("outside changed (-before +after):\n%s", diff)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
				t.Errorf("beside the folder: %v, %v", names, err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "in")); err != nil {
				t.Errorf("what is left cannot be removed: %v", err)
			}
		})
	}
}

// snapshot is the listing of dir with inodes, links and times.
func snapshot(t testing.TB, dir string) []string {
	t.Helper()
	lines := listing(t, dir)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err := errors.Join(err, unix.Lstat(p, &st)); err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s inode %d, %d names, changed %d", p, st.Ino, st.Nlink, st.Mtim.Nano()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestUnpackWithinLimits(t *testing.T) {
	many := make([]member, 20)
	for i := range many {
		many[i] = member{name: fmt.Sprintf("%d", i)}
	}
	for _, test := range []struct {
		name    string
		members []member
		limits  Limits
		want    error
	}{
		{"bytes", []member{{name: "a", content: strings.Repeat("x", 600)}, {name: "b", content: strings.Repeat("x", 600)}}, Limits{Bytes: 1000}, ErrHostile},
		{"bytes, just", []member{{name: "a", content: strings.Repeat("x", 1000)}}, Limits{Bytes: 1000}, nil},
		{"entries", many, Limits{Entries: 19}, ErrHostile},
		{"entries, just", many, Limits{Entries: 20}, nil},
		{"entries that are not named", []member{{name: "a/b/c/d/e/f"}}, Limits{Entries: 5}, ErrHostile},
		{"room", []member{{name: "a", content: "x"}}, Limits{Free: 1 << 60}, errNoRoom},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := unpackTo(t, t.TempDir(), archive(t, test.members...), test.limits)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// FuzzUnpack gives any bytes as an archive. Nothing outside changes, nothing inside is more than documented, and it can be removed.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, member{name: "a/b", content: "x"}, member{name: "l", kind: tar.TypeSymlink, link: "a"}, member{name: "l/c"}, member{name: "h", kind: tar.TypeLink, link: "a/b"}))
	f.Add(archive(f, member{name: "a/.wh.b"}, member{name: "a/.wh..wh..opq"}, member{name: "su", mode: 0o6777}, member{name: "dev", kind: tar.TypeChar}))
	f.Add(archive(f, member{name: "../x"}, member{name: "l", kind: tar.TypeSymlink, link: "../../.."}, member{name: "l/x", content: "y"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "outside"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		made, err := unpackTo(t, dir, data, Limits{Bytes: 1 << 20, Entries: 1000})
		if made.bytes > 1<<20+256<<10 {
			t.Errorf("%d bytes", made.bytes)
		}
		if names, errDir := os.ReadDir(dir); errDir != nil || len(names) != 2 {
			t.Errorf("beside the folder: %v, %v (%v)", names, errDir, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "outside")); err != nil || string(b) != "precious" {
			t.Errorf("outside: %q, %v", b, err)
		}
		for _, line := range listing(t, filepath.Join(dir, "in")) {
			if mode := line[1:5]; mode[0] != '0' && (mode[0] != '1' || line[0] != 'd') {
				t.Errorf("%s", line)
			}
			if line[0] == '?' || line[0] == 'c' && !strings.HasSuffix(line, " 0") {
				t.Errorf("%s", line)
			}
		}
	})
}
