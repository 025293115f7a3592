//go:build linux

package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
)

// What must never be visible, however PATH, links, variables and the person's own list lead there.
func TestFindToolsRefuses(t *testing.T) {
	files := map[string]string{
		".ssh/id_ed25519": "x", ".ssh/bin/x": "exe", ".aws/cli/bin/aws": "exe", ".config/gcloud/bin/x": "exe", ".config/app/bin/x": "exe",
		".gnupg/x": "exe", ".moat/bin/x": "exe", ".cache/mozilla/x/bin/y": "exe", "../bob/bin/x": "exe", "../../src/app/bin/x": "exe", "../../src/x": "exe",
		"open/x": "exe", "ssh-link": "-> .ssh/bin", "up": "-> ..", "loop": "-> loop", "dangling": "-> nowhere", "root-ssh": "-> /root/.ssh",
		".local/share/x": "exe", "x.sock": "x", ".netrc": "x", ".claude/bin/x": "exe",
	}
	cases := map[string]string{ // path → the reason's beginning; "" where nothing is there
		"~":                      "is the home directory or holds it",
		"~/.":                    "is the home directory or holds it",
		"~/up":                   "is the home directory or holds it",
		"^":                      "is the home directory or holds it",
		"/":                      "is a directory of the system",
		"/tmp":                   "is a directory of the system",
		"~/.ssh":                 "is in .ssh",
		"~/.ssh/bin":             "is in .ssh",
		"~/ssh-link":             "is in .ssh",
		"~/.aws/cli/bin":         "is in .aws",
		"~/.gnupg":               "is in .gnupg",
		"~/.config":              "is in .config",
		"~/.config/gcloud/bin":   "is in .config",
		"~/.config/app/bin":      "is in .config",
		"~/.claude":              "is in .claude",
		"~/.claude/bin":          "is in .claude",
		"~/.cache/mozilla/x/bin": "is in a browser's data",
		"~/.moat":                "would show moat's own records",
		"~/.moat/bin":            "would show moat's own records",
		"^/home/bob/bin":         "is another account's",
		"^/src":                  "holds the workspace",
		"~/.local":               "holds unrelated files",
		"~/.local/share":         "holds unrelated files",
		"~/open":                 "can be written by everybody",
		"~/loop":                 "too many levels of links",
		"/proc/self":             "is in /proc",
		"/var/lib":               "is in /var/lib",
		"~/dangling":             "",
	}
	if _, err := os.Stat("/root"); err == nil {
		cases["/root/.ssh"] = "is another account's"
	}
	for path, reason := range cases {
		t.Run(path, func(t *testing.T) {
			p := newPerson(t)
			p.has(files)
			okay(t, os.Chmod(filepath.Join(p.home, "open"), 0o777))
			p.path(path)
			if got := p.tools(); got != nil {
				t.Errorf("PATH entry makes %q visible", got)
			}
			if path == "/root/.ssh" {
				return // need not be there
			}
			for where, got := range p.refusals() {
				if !strings.HasPrefix(got, reason) || reason == "" {
					t.Errorf("PATH entry %s: %s", where, got)
				}
			}
			asked := newPerson(t)
			asked.has(files)
			okay(t, os.Chmod(filepath.Join(asked.home, "open"), 0o777))
			asked.want.Paths = []string{asked.expand(path)}
			if got := asked.tools(); got != nil {
				t.Errorf("asking makes %q visible", got)
			}
			_, reports := FindTools(asked.host(), asked.want)
			err := Refusals(reports)
			if reason == "" {
				reason = "does not exist"
			}
			if !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), reason) {
				t.Errorf("asking: error %v, want %q in it", err, reason)
			}
		})
	}
}

func TestFindToolsHostileLinks(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{
		"bin/a": "-> ~/.ssh/run", ".ssh/run": "exe", "bin/b": "-> ../.config/x/run", ".config/x/run": "exe", "bin/c": "-> c", "bin/d": "-> gone",
		"bin/e": "-> ~", "bin/f": "-> /", "bin/g": "-> ^/home/bob/secret/bin/run", "../bob/secret/bin/run": "exe", "../bob/secret/lib/x": "x",
		"bin/h": "-> ~/.moat/run", ".moat/run": "exe", "bin/i": "-> ^/src/app/run", "../../src/app/run": "exe", "bin/j": "-> /root/.ssh/id_rsa",
		"bin/k": "-> ~/run", "run": "exe", "bin/l": "-> /proc/self/exe", "bin/m": "-> ~/.npmrc", ".npmrc": "755 x", "package.json": "{}",
		"bin/n": "-> ~/tool/x/y/run", "tool/x/y/run": "exe", "tool/package.json": "{}", "tool/.ssh/id": "x",
	})
	p.path("~/bin")
	want := []string{"~/bin", "~/run", "~/tool -.ssh"}
	if diff := cmp.Diff(want, p.tools()); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
}

// PATH entries that a sandbox may have written are not searched: their links are its own.
func TestFindToolsAvoids(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{
		"../../src/app/bin/x": "-> ~/code/private/run", "code/private/run": "exe", "code/private/package.json": "{}",
		"../../old/bin/x": "-> ~/code/private/run", "../../src/app/node_modules/.bin/y": "-> ../y/cli.js",
	})
	p.want.Avoid = []string{filepath.Join(p.root, "old")}
	p.path("^/src/app/bin", "^/old/bin", "^/src/app/node_modules/.bin")
	if got := p.tools(); got != nil {
		t.Errorf("tools %q", got)
	}
	got := ToolEnv(p.host(), p.want, nil)["PATH"]
	if want := "/workspace/bin:/workspace/node_modules/.bin:" + strings.Join(systemPath(), ":"); got != want {
		t.Errorf("PATH %s\nwant %s", got, want)
	}
}

func TestFindToolsAsked(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{"sdk2/x/bin/y": "exe", "sdk2/x/.npmrc": "x", "a file": "exe", ".nvm/nvm.sh": "x", ".config/mise/config.toml": "[tools]", ".npmrc": "x"})
	p.path("~/.nvm")
	p.want.None = true
	p.want.Paths = []string{"~/sdk2", "~/a file", "~/.config/mise", "/usr/share"}
	want := []string{"~/.config/mise", "~/a file", "~/sdk2 -x/.npmrc"}
	if diff := cmp.Diff(want, p.tools()); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	_, reports := FindTools(p.host(), p.want)
	okay(t, Refusals(reports))

	p.want.Paths = []string{"sdk2", "~/gone", "~/.npmrc", "~bob/x", "/dev/null"}
	_, reports = FindTools(p.host(), p.want)
	err := Refusals(reports)
	for _, text := range []string{"sdk2: is not an absolute path", "gone: does not exist", ".npmrc: is a credential file", "~bob/x: is not an absolute path", "/dev/null: is neither"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v\nlacks %q", err, text)
		}
	}
}

func TestFindToolsReports(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{".volta/bin/node": "exe", ".volta/.npmrc": "x", "bin/x": "-> ../apps/x/run", "apps/x/run": "exe", "apps/x/package.json": "{}"})
	p.path("~/.volta/bin", "~/bin", "relative", "/mnt/c/Windows", "/snap/bin", "~/.ssh", "~/gone")
	_, reports := FindTools(p.host(), p.want)
	for i := range reports {
		reports[i].Path, reports[i].Why = p.short(reports[i].Path), p.short(reports[i].Why)
		for j := range reports[i].Masked {
			reports[i].Masked[j] = p.short(reports[i].Masked[j])
		}
	}
	want := []Report{
		{Name: "volta", Path: "~/.volta", Why: "PATH", Masked: []string{"~/.volta/.npmrc"}},
		{Name: "package", Path: "~/apps/x", Why: "link ~/bin/x", Masked: []string{}},
		{Name: "directory", Path: "~/bin", Why: "PATH", Masked: []string{}},
		{Name: "directory", Path: "/mnt/c/Windows", Why: "PATH", Masked: []string{}, Refused: "Windows programs need the host's interop, which is not inside"},
		{Name: "directory", Path: "/snap/bin", Why: "PATH", Masked: []string{}, Refused: "snap programs need snapd, which is not inside"},
		{Name: "directory", Path: "relative", Why: "PATH", Masked: []string{}, Refused: "is not an absolute path"},
	}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// A home behind links (/home → var/home): results are free of links, and the links that scripts rely on are named.
func TestToolLinks(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{".nvm/versions/node/v1/bin/node": "exe", ".nvm/current": "-> versions/node/v1"})
	okay(t, os.Symlink("home", filepath.Join(p.root, "people")))
	real := p.home
	p.home = filepath.Join(p.root, "people/alice")
	p.path("~/.nvm/current/bin")
	tools, _ := FindTools(p.host(), p.want)
	if diff := cmp.Diff([]sandbox.Tool{{Path: real + "/.nvm"}}, tools); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	want := []Link{{Path: filepath.Join(p.root, "people"), Target: "home"}}
	if diff := cmp.Diff(want, ToolLinks(p.host(), p.want, tools)); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	env := ToolEnv(p.host(), p.want, tools)
	if got, want := env["PATH"], real+"/.nvm/versions/node/v1/bin:"+strings.Join(systemPath(), ":"); got != want {
		t.Errorf("PATH %s\nwant %s", got, want)
	}
}

func TestToolEnv(t *testing.T) {
	p := newPerson(t)
	p.has(map[string]string{
		".cargo/bin/cargo": "exe", ".rustup/settings.toml": "x", "go/bin/dlv": "exe", ".pyenv/bin/pyenv": "exe", ".jdks/21/bin/java": "exe",
		".claude/local/claude": "755 #!", ".sdkman/x": "x", ".ssh/bin/x": "exe",
	})
	p.path("~/.cargo/bin", "/bin", "~/.ssh/bin", "~/go/bin", "relative", "", "~/.pyenv/bin", "~/.cargo/bin/../bin", "/usr/local/bin", "~/gone")
	p.set("JAVA_HOME", "~/.jdks/21")
	p.set("GOROOT", "/usr/../usr")
	p.set("GEM_PATH", "/usr/lib:~/.ssh")
	p.set("NODE_PATH", "/usr/lib:~/.cargo/bin")
	p.set("AWS_PROFILE", "x")
	p.set("SDKMAN_DIR", "~/.sdkman")
	tools, _ := FindTools(p.host(), p.want)
	env := ToolEnv(p.host(), p.want, tools)
	for k, v := range env {
		env[k] = strings.ReplaceAll(v, p.home, "~")
	}
	want := map[string]string{
		"PATH":       "~/.cargo/bin:/bin:~/go/bin:~/.pyenv/bin:/usr/local/bin:~/.claude/local:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin",
		"CARGO_HOME": "~/.cargo", "RUSTUP_HOME": "~/.rustup", "PYENV_ROOT": "~/.pyenv", "JAVA_HOME": "~/.jdks/21", "GOROOT": "/usr",
		"NODE_PATH": "/usr/lib:~/.cargo/bin", "SDKMAN_DIR": "~/.sdkman",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	p.want.None = true
	tools, _ = FindTools(p.host(), p.want)
	none := ToolEnv(p.host(), p.want, tools)
	delete(none, "GOROOT")
	if diff := cmp.Diff(map[string]string{"PATH": "/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin"}, none); diff != "" {
		t.Errorf("with no tools (-want +got):\n%s", diff)
	}
}

// counted counts what is asked of the machine.
type counted struct {
	Host
	dirs, stats int
}

func (c *counted) ReadDir(path string) ([]fs.DirEntry, error) { c.dirs++; return c.Host.ReadDir(path) }
func (c *counted) Lstat(path string) (fs.FileInfo, error)     { c.stats++; return c.Host.Lstat(path) }

// A home with very many directories and links costs no more than the documented bounds.
func TestFindToolsIsBounded(t *testing.T) {
	p := newPerson(t)
	files := map[string]string{"bin/x": "exe"}
	for i := range 3 * maxScanned {
		files["bin/d"+strings.Repeat("x", i%100)+string(rune('a'+i/100))+"/e/f/g"] = "x"
	}
	for i := range 2 * maxLinks {
		files["bin/l"+strings.Repeat("y", i%200)+string(rune('a'+i/200))] = "-> ~/gone/x"
	}
	p.has(files)
	p.path("~/bin")
	host := &counted{Host: p.host()}
	FindTools(host, p.want)
	if host.dirs > maxScanned+4 {
		t.Errorf("%d directories were read", host.dirs)
	}
	if host.stats > maxLinks+500 {
		t.Errorf("%d paths were looked at", host.stats)
	}
}

func FuzzResolve(f *testing.F) {
	p := newPerson(f)
	p.has(map[string]string{"a/b/c": "x", "l1": "-> a", "l2": "-> l1/b/..", "l3": "-> ../alice/l2", "loop": "-> loop/x", "abs": "-> ~/a/b", "up": "-> ../../.."})
	for _, s := range []string{"a/b/c", "l1/b/../b/c", "l2/b", "l3/./b//c", "loop", "abs/c", "up/tmp", "../x", "a/b/c/..", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path := p.home + "/" + s
		if strings.ContainsRune(s, 0) {
			return
		}
		g := &ground{host: p.host(), nodes: map[string]node{}}
		got, err := g.resolve(path)
		fd, openErr := os.Open(path)
		if openErr != nil {
			return // the kernel is stricter: "file/.." is an error there
		}
		defer fd.Close()
		want, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd.Fd()))
		if err != nil || got != want {
			t.Errorf("resolve(%q) = %q, %v; the kernel says %q", path, got, err, want)
		}
	})
}

func FuzzSecretContent(f *testing.F) {
	f.Add([]byte("https://a:b@c/"), ".toml")
	f.Add([]byte("://"), ".pem")
	f.Fuzz(func(t *testing.T, content []byte, ext string) {
		if !secretContent(ext, append(content, "\n-----BEGIN PRIVATE KEY-----"...)) {
			t.Error("a private key is overlooked")
		}
	})
}

// On this machine, whatever it has: the promises of FindTools hold.
func TestFindToolsOfThisMachine(t *testing.T) {
	home, err := os.UserHomeDir()
	okay(t, err)
	p := &person{t: t, root: "/nonexistent", home: home, env: os.Environ(), want: Wanted{Workspace: t.TempDir(), MoatHome: home + "/.moat"}}
	start := time.Now()
	tools, reports := FindTools(p.host(), p.want)
	t.Logf("%d tools in %v", len(tools), time.Since(start))
	p.check(tools, reports)
	for _, r := range reports {
		t.Logf("%+v", r)
	}
	t.Log(ToolEnv(p.host(), p.want, tools))
}

func BenchmarkFindTools(b *testing.B) {
	home, err := os.UserHomeDir()
	okay(b, err)
	for b.Loop() {
		FindTools(Machine(home, os.Environ()), Wanted{Workspace: "/nonexistent", MoatHome: home + "/.moat"})
	}
}
