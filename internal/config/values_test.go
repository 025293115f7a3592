package config

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "42b": 42, "1k": 1024, "1K": 1024, "1kb": 1024, "1KiB": 1024, "2 m": 2 << 20,
		"1.5g": 3 << 29, "0.1k": 102, "2g": 2 << 30, "1t": 1 << 40, "1p": 1 << 50,
		"9223372036854775807": math.MaxInt64, "0.0000000001p": 112589,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "g", "-1", "+1", "1gg", "1e3", "0x10", "1_000", ".5g", "1.g", "1  g", " 1g", "1g ", "1,5g", "1i", "٣g",
		"9223372036854775808", "8192p", "99999999999999999999p", strings.Repeat("9", 1000), "inf", "nan", "1/2",
	} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
}

func TestParseLimits(t *testing.T) {
	got, err := ParseLimits("512m", "0.25", "100")
	if want := (Limits{Memory: 512 << 20, MilliCPUs: 250, PIDs: 100}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := ParseLimits("", "", ""); err != nil || got != (Limits{}) {
		t.Errorf("nothing gives %+v, %v", got, err)
	}
	for _, bad := range [][3]string{
		{"5m", "", ""}, {"2048t", "", ""}, {"x", "", ""},
		{"", "0", ""}, {"", "0.001", ""}, {"", "9000", ""}, {"", "-1", ""}, {"", "1e1", ""}, {"", "all", ""},
		{"", "", "0"}, {"", "", "-1"}, {"", "", "15"}, {"", "", "4194305"}, {"", "", "1.5"}, {"", "", "1k"},
	} {
		if got, err := ParseLimits(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("ParseLimits(%q) = %+v", bad, got)
		}
	}
}

func TestParseMount(t *testing.T) {
	for text, want := range map[string]Mount{
		"a:/b": {"a", "/b", false}, "a:/b:ro": {"a", "/b", true}, "/x:/y:rw": {"/x", "/y", false},
		"~/a:/b": {"~/a", "/b", false}, `C:\a:/b`: {`C:\a`, "/b", false}, ".:/here": {".", "/here", false},
		"./~a:/b": {"./~a", "/b", false}, "a:/workspace/x": {"a", "/workspace/x", false}, "a:/process": {"a", "/process", false},
	} {
		if got, err := ParseMount(text); err != nil || got != want {
			t.Errorf("ParseMount(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "a", "a:", ":/b", ":", "a:b", "a:/", "a:/b:RO", "a:/b:ro:rw", "a:/b:", "a:/b/", "a:/b//c", "a:/b/../c", "a:/./b",
		"a:/proc", "a:/proc/1", "a:/dev/kvm", "a:/sys", "a:/workspace", "a\x00:/b", "a:/b\n", "~root:/b", "~:/b",
		"a:/" + strings.Repeat("b", maxPath),
	} {
		if got, err := ParseMount(text); err == nil {
			t.Errorf("ParseMount(%q) = %+v", text, got)
		}
	}
}

func TestParseEnv(t *testing.T) {
	lookup := func(name string) (string, bool) { return "from outside", name == "HOME" }
	for text, want := range map[string]Var{
		"A=b": {"A", "b"}, "A=": {"A", ""}, "A=b=c": {"A", "b=c"}, "_a1= x ": {"_a1", " x "}, "HOME": {"HOME", "from outside"},
	} {
		if got, err := ParseEnv(text, lookup); err != nil || got != want {
			t.Errorf("ParseEnv(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "=x", "1A=b", "A-B=c", "A B=c", "É=1", "A=\x00", strings.Repeat("A", maxEnvName+1) + "=", "A=" + strings.Repeat("x", maxArg)} {
		if got, err := ParseEnv(text, lookup); err == nil {
			t.Errorf("ParseEnv(%.20q) = %.20v", text, got)
		}
	}
	if _, err := ParseEnv("ABSENT", lookup); !errors.Is(err, ErrNotSet) {
		t.Errorf("an absent variable gives %v", err)
	}
}

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]Keys{
		"ctrl-/": {0x1f}, "ctrl-_": {0x1f}, "ctrl-x": {0x18}, "Ctrl-X": {0x18}, "ctrl-p,ctrl-q": {0x10, 0x11},
		"a": {'a'}, "ctrl-@": {0}, `ctrl-\`: {0x1c}, "ctrl-]": {0x1d}, "ctrl-^,d": {0x1e, 'd'}, "ctrl-a,ctrl-[": {1, 0x1b}, " ": {' '},
	} {
		got, err := ParseKeys(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ParseKeys(%q): %v\n%s", text, err, diff)
		}
		if again, err := ParseKeys(got.String()); err != nil || !cmp.Equal(again, want) {
			t.Errorf("%q is written as %q, which is read as %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", ",", "a,", "ctrl-", "ctrl-1", "ctrl-xx", "ctrl x", "alt-x", "é", "ctrl-é", "\x01", "\x7f", "ctrl-[", "ctrl-[,d", "a,b,c,d,e,f,g,h,i"} {
		if got, err := ParseKeys(text); err == nil {
			t.Errorf("ParseKeys(%q) = %v", text, got)
		}
	}
}

func TestParseStopWindow(t *testing.T) {
	if got, err := ParseStopWindow("1.5s"); err != nil || got != 1500*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "1", "0s", "-1s", "99ms", "11s", "1 s", "soon"} {
		if got, err := ParseStopWindow(text); err == nil {
			t.Errorf("ParseStopWindow(%q) = %v", text, got)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "1", "a-b", "run-1", "run-0123456789abc", "x--y", strings.Repeat("a", 63)} {
		if err := CheckName(name); err != nil {
			t.Errorf("refused %q: %v", name, err)
		}
	}
	for _, name := range []string{"", "-", "-a", "a-", "A", "a_b", "a.b", "a b", "a/b", "..", "é", "a\n", "run-0123456789ab", strings.Repeat("a", 64)} {
		if CheckName(name) == nil {
			t.Errorf("accepted %q", name)
		}
	}
}

func TestParseRuntime(t *testing.T) {
	for _, name := range []string{RuntimeNative, RuntimeDocker, RuntimeApple} {
		if got, err := ParseRuntime(name); err != nil || got != name {
			t.Errorf("ParseRuntime(%q) = %q, %v", name, got, err)
		}
	}
	for text, hint := range map[string]string{"": "known are", "dokcer": `did you mean "docker"?`, "podman": "write docker", "Native": `"native"`} {
		if got, err := ParseRuntime(text); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParseRuntime(%q) = %q, %v; want a hint %s", text, got, err, hint)
		}
	}
}

func TestParseImage(t *testing.T) {
	for _, text := range []string{
		"debian", "debian:12", "library/debian", "ghcr.io/a/b_c.d-e/f:v1.2", "localhost:5000/x", "[::1]:5000/x",
		"x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	} {
		if got, err := ParseImage(text); err != nil || got != text {
			t.Errorf("ParseImage(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Debian", "a b", "x:", "x@sha256:12", "x\n", "../x", "https://ghcr.io/x", strings.Repeat("x", 600)} {
		if got, err := ParseImage(text); err == nil {
			t.Errorf("ParseImage(%q) = %q", text, got)
		}
	}
}

func TestParseWorkDir(t *testing.T) {
	for text, want := range map[string]string{"/": "/", "/workspace/a/": "/workspace/a", "/a/../b": "/b"} {
		if got, err := ParseWorkDir(text); err != nil || got != want {
			t.Errorf("ParseWorkDir(%q) = %q, %v", text, got, err)
		}
	}
	for text, hint := range map[string]string{"": "/workspace", "src": `"/workspace/src"`, "/a\x1b": "control", "/" + strings.Repeat("x", 5000): "longer"} {
		if got, err := ParseWorkDir(text); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParseWorkDir(%q) = %q, %v", text, got, err)
		}
	}
}

func TestResolvePath(t *testing.T) {
	for path, want := range map[string]string{
		"a": "/base/a", "../a": "/a", ".": "/base", "~/a": "/home/x/a", "/a/../b": "/b", "~": "/base/~", "./~/a": "/base/~/a",
	} {
		if got := ResolvePath(path, "/base", "/home/x"); got != want {
			t.Errorf("ResolvePath(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestClosest(t *testing.T) {
	words := []string{"name", "command", "mounts", "env", "limits"}
	for word, want := range map[string]string{
		"nmae": "name", "NAME": "name", "comand": "command", "mount": "mounts", "envs": "env", "limit": "limits",
		"x": "", "environment": "", "": "", strings.Repeat("n", 1000): "",
	} {
		if got := closest(word, words); got != want {
			t.Errorf("closest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

// The table is the definition: how many edits lead from one word to the other.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"abc", "abd", 1}, {"abc", "xabc", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
