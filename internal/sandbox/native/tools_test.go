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

// person is a home on a real file system, with what stands beside it.
type person struct {
	t    testing.TB
	root string // holds home/alice, home/bob, src, moat
	home string
	env  []string
	want Wanted
}

func newPerson(t testing.TB) *person {
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	p := &person{t: t, root: root, home: filepath.Join(root, "home/alice")}
	must(t, os.MkdirAll(p.home, 0o755))
	must(t, os.MkdirAll(filepath.Join(root, "src/app"), 0o755))
	p.want = Wanted{Workspace: filepath.Join(root, "src/app"), MoatHome: filepath.Join(p.home, ".moat")}
	return p
}

// expand replaces "~" by the home and "^" by the root.
func (p *person) expand(s string) string {
	return strings.NewReplacer("~", p.home, "^", p.root).Replace(s)
}

// has makes files in the home; a link's target may hold "~" and "^".
func (p *person) has(files map[string]string) {
	p.t.Helper()
	expanded := map[string]string{}
	for name, value := range files {
		expanded[name] = p.expand(value)
	}
	tree(p.t, p.home, expanded)
}

func (p *person) path(entries ...string) {
	p.env = append(p.env, "PATH="+p.expand(strings.Join(entries, ":")))
}

func (p *person) set(key, value string) { p.env = append(p.env, key+"="+p.expand(value)) }

func (p *person) host() Host { return Machine(p.home, p.env) }

func (p *person) short(path string) string {
	path = strings.Replace(path, p.home, "~", 1)
	return strings.Replace(path, p.root, "^", 1)
}

// tools are the found tools as lines "~/.nvm" and "~/.nvm -.npmrc" for what is masked.
func (p *person) tools() []string {
	p.t.Helper()
	tools, reports := FindTools(p.host(), p.want)
	p.check(tools, reports)
	var out []string
	for _, tool := range tools {
		line := p.short(tool.Path)
		for _, m := range tool.Mask {
			line += " -" + strings.TrimPrefix(m, tool.Path+"/")
		}
		out = append(out, line)
	}
	return out
}

// check holds what FindTools promises of any result.
func (p *person) check(tools []sandbox.Tool, reports []Report) {
	p.t.Helper()
	again, reportsAgain := FindTools(p.host(), p.want)
	if diff := cmp.Diff(tools, again) + cmp.Diff(reports, reportsAgain); diff != "" {
		p.t.Errorf("a second search differs:\n%s", diff)
	}
	for i, tool := range tools {
		if real, err := filepath.EvalSymlinks(tool.Path); err != nil || real != tool.Path {
			p.t.Errorf("tool %s is %s without links (%v)", tool.Path, real, err)
		}
		if under(tool.Path, p.home) || under(tool.Path, p.want.Workspace) || under(p.want.Workspace, tool.Path) {
			p.t.Errorf("tool %s shows too much", tool.Path)
		}
		if i > 0 && (comparePaths(tools[i-1].Path, tool.Path) >= 0 || under(tools[i-1].Path, tool.Path)) {
			p.t.Errorf("tools %s and %s are not in order", tools[i-1].Path, tool.Path)
		}
		for _, m := range tool.Mask {
			if real, err := filepath.EvalSymlinks(m); err != nil || real != m || m == tool.Path || !under(tool.Path, m) {
				p.t.Errorf("mask %s of %s is %s without links (%v)", m, tool.Path, real, err)
			}
		}
	}
}

// refusals are the refused paths with their reasons.
func (p *person) refusals() map[string]string {
	_, reports := FindTools(p.host(), p.want)
	out := map[string]string{}
	for _, r := range reports {
		if r.Refused != "" {
			out[p.short(r.Path)] = r.Refused
		}
	}
	return out
}

func TestFindTools(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		path  []string
		env   map[string]string
		want  []string
	}{
		"nothing": {path: []string{"/usr/bin", "/bin"}},
		"nvm": {
			files: map[string]string{
				".nvm/versions/node/v22.1.0/bin/node":                            "exe",
				".nvm/versions/node/v22.1.0/bin/npm":                             "-> ../lib/node_modules/npm/bin/npm-cli.js",
				".nvm/versions/node/v22.1.0/lib/node_modules/npm/bin/npm-cli.js": "755 #!",
				".nvm/versions/node/v22.1.0/etc/npmrc":                           "//r/:_authToken=x",
				".nvm/.npmrc":                                                    "x", ".nvm/nvm.sh": "x",
			},
			path: []string{"~/.nvm/versions/node/v22.1.0/bin", "/usr/bin"},
			want: []string{"~/.nvm -.npmrc -versions/node/v22.1.0/etc/npmrc"},
		},
		"nvm by variable, elsewhere": {
			files: map[string]string{".config/nvm/nvm.sh": "x", ".config/gh/hosts.yml": "x"},
			env:   map[string]string{"NVM_DIR": "~/.config/nvm"},
			want:  []string{"~/.config/nvm"},
		},
		"fnm through its link of the shell": {
			files: map[string]string{
				".local/share/fnm/node-versions/v20/installation/bin/node": "exe",
				"run/fnm_multishells/1_2":                                  "-> ~/.local/share/fnm/node-versions/v20/installation",
			},
			path: []string{"~/run/fnm_multishells/1_2/bin"},
			want: []string{"~/.local/share/fnm"},
		},
		"npm link to a project": {
			files: map[string]string{
				".npm-global/bin/tool":              "-> ../lib/node_modules/tool/cli.js",
				".npm-global/lib/node_modules/tool": "-> ~/code/tool",
				".npm-global/etc/npmrc":             "x",
				"code/tool/cli.js":                  "755 #!",
				"code/tool/package.json":            "{}",
				"code/tool/.env":                    "KEY=1",
				"code/other/secret.js":              "x",
			},
			path: []string{"~/.npm-global/bin"},
			want: []string{"~/.npm-global/bin", "~/.npm-global/lib", "~/code/tool -.env"},
		},
		"rustup and cargo": {
			files: map[string]string{
				".cargo/bin/rustup": "exe", ".cargo/bin/cargo": "-> rustup", ".cargo/credentials.toml": "x", ".cargo/credentials": "x",
				".cargo/config.toml": "[registries.x]\ntoken = \"x\"", ".rustup/toolchains/stable/bin/cargo": "exe",
			},
			path: []string{"~/.cargo/bin"},
			want: []string{"~/.cargo -config.toml -credentials -credentials.toml", "~/.rustup"},
		},
		"cargo settings without secrets stay": {
			files: map[string]string{".cargo/bin/x": "exe", ".cargo/config.toml": "[build]\njobs = 2"},
			path:  []string{"~/.cargo/bin"},
			want:  []string{"~/.cargo"},
		},
		"pyenv": {
			files: map[string]string{".pyenv/shims/python": "755 #!", ".pyenv/versions/3.12.1/bin/python": "exe"},
			path:  []string{"~/.pyenv/shims", "~/.pyenv/bin"},
			want:  []string{"~/.pyenv"},
		},
		"claude, pipx and uv in ~/.local/bin": {
			files: map[string]string{
				".local/bin/claude":                               "-> ~/.local/share/claude/versions/2.0.1",
				".local/share/claude/versions/2.0.1":              "exe",
				".local/share/claude/history":                     "x",
				".claude/.credentials.json":                       "x",
				".local/bin/black":                                "-> ../share/pipx/venvs/black/bin/black",
				".local/share/pipx/venvs/black/bin/black":         "755 #!",
				".local/share/pipx/venvs/black/bin/python":        "-> ~/.local/share/uv/python/cpython-3.13/bin/python3",
				".local/share/pipx/venvs/black/pyvenv.cfg":        "x",
				".local/share/uv/python/cpython-3.13/bin/python3": "exe",
				".local/bin/ruff":                                 "-> ~/.local/share/uv/tools/ruff/bin/ruff",
				".local/share/uv/tools/ruff/bin/ruff":             "exe",
				".local/share/uv/credentials/credentials.toml":    "x",
				".local/share/keyrings/login.keyring":             "x",
				".local/lib/python3.11/site-packages/a.py":        "x",
				".local/bin/goose":                                "exe",
			},
			path: []string{"~/.local/bin"},
			want: []string{"~/.local/bin", "~/.local/lib", "~/.local/share/claude/versions", "~/.local/share/pipx", "~/.local/share/uv/python", "~/.local/share/uv/tools"},
		},
		"an agent that is started by an alias": {
			files: map[string]string{".claude/local/claude": "755 #!", ".claude/.credentials.json": "x", ".claude/projects/x.jsonl": "x"},
			want:  []string{"~/.claude/local"},
		},
		"codex beside its credentials": {
			files: map[string]string{
				".local/bin/codex":                   "-> ~/.codex/packages/standalone/current/codex",
				".codex/packages/standalone/1/codex": "exe", ".codex/packages/standalone/current": "-> 1",
				".codex/auth.json": "x", ".codex/sessions/1": "x",
			},
			path: []string{"~/.local/bin"},
			want: []string{"~/.codex/packages", "~/.local/bin"},
		},
		"asdf reads a file in the home": {
			files: map[string]string{".asdf/shims/ruby": "755 #!", ".tool-versions": "ruby 3.3"},
			path:  []string{"~/.asdf/shims"},
			want:  []string{"~/.asdf", "~/.tool-versions"},
		},
		"go shows programs and modules, not sources": {
			files: map[string]string{"go/bin/dlv": "exe", "go/pkg/mod/x/go.mod": "x", "go/src/private/main.go": "x", "sdk/go1.26/bin/go": "exe", "sdk/mine/x": "x"},
			path:  []string{"~/go/bin", "~/sdk/go1.26/bin"},
			want:  []string{"~/go/bin", "~/go/pkg", "~/sdk/go1.26"},
		},
		"sdkman, deno, bun, volta, pnpm, mise": {
			files: map[string]string{
				".sdkman/candidates/java/current": "-> 21", ".sdkman/candidates/java/21/bin/java": "exe",
				".sdkman/candidates/maven/3/conf/settings.xml": "x",
				".deno/bin/deno": "exe", ".bun/bin/bun": "exe", ".bun/bin/bunx": "-> bun", ".bunfig.toml": "x", ".volta/bin/node": "-> volta-shim",
				".volta/bin/volta-shim": "exe", ".local/share/pnpm/pnpm": "exe", ".local/share/mise/installs/node/22/bin/node": "exe",
				".local/share/mise/installs/node/22/etc/npmrc": "x",
			},
			path: []string{"~/.sdkman/candidates/java/current/bin", "~/.deno/bin", "~/.bun/bin", "~/.volta/bin", "~/.local/share/pnpm", "~/.local/share/mise/installs/node/22/bin"},
			want: []string{
				"~/.bun", "~/.deno", "~/.local/share/mise -installs/node/22/etc/npmrc", "~/.local/share/pnpm",
				"~/.sdkman -candidates/maven/3/conf/settings.xml", "~/.volta",
			},
		},
		"homebrew without its services' data": {
			files: map[string]string{
				"../linuxbrew/.linuxbrew/bin/jq": "-> ../Cellar/jq/1/bin/jq", "../linuxbrew/.linuxbrew/Cellar/jq/1/bin/jq": "exe",
				"../linuxbrew/.linuxbrew/var/mysql/ibdata": "x", "../linuxbrew/.linuxbrew/var/homebrew/linked/jq": "x",
				"../linuxbrew/.linuxbrew/etc/ca.pem": "-----BEGIN CERTIFICATE-----",
			},
			path: []string{"^/home/linuxbrew/.linuxbrew/bin"},
			env:  map[string]string{"HOMEBREW_PREFIX": "^/home/linuxbrew/.linuxbrew"},
			want: []string{"^/home/linuxbrew/.linuxbrew -var/mysql"},
		},
		"conda keeps its certificates, not its tokens": {
			files: map[string]string{
				"miniconda3/condabin/conda": "755 #!", "miniconda3/.condarc": "channels: x", "miniconda3/ssl/cacert.pem": "-----BEGIN CERTIFICATE-----",
				"miniconda3/ssl/own.pem": "-----BEGIN PRIVATE KEY-----", "miniconda3/envs/a/.condarc": "x",
			},
			path: []string{"~/miniconda3/condabin"},
			want: []string{"~/miniconda3 -.condarc -envs/a/.condarc -ssl/own.pem"},
		},
		"an unknown directory shows itself": {
			files: map[string]string{".fly/bin/flyctl": "exe", ".fly/config.yml": "access_token: x", "bin/mine": "exe", "bin/.env": "x", "bin/id_ed25519": "x"},
			path:  []string{"~/.fly/bin", "~/bin"},
			want:  []string{"~/.fly/bin", "~/bin -.env -id_ed25519"},
		},
		"links to programs elsewhere": {
			files: map[string]string{
				"bin/idea": "-> ~/apps/idea/bin/idea.sh", "apps/idea/bin/idea.sh": "755 #!", "apps/idea/lib/a.jar": "x", "apps/notes.txt": "x",
				"bin/app": "-> ~/Downloads/app.AppImage", "Downloads/app.AppImage": "exe", "Downloads/taxes.pdf": "x",
				"bin/eslint": "-> ~/code/web/node_modules/eslint/bin/eslint.js", "code/web/node_modules/eslint/bin/eslint.js": "755 #!",
				"code/web/node_modules/eslint/package.json": "{}", "code/web/.env": "x",
				"bin/notes": "-> ~/diary.txt", "diary.txt": "x",
			},
			path: []string{"~/bin"},
			want: []string{"~/Downloads/app.AppImage", "~/apps/idea", "~/bin", "~/code/web/node_modules"},
		},
		"a virtual environment's interpreter": {
			files: map[string]string{
				"bin/tool": "-> ~/venvs/t/bin/tool", "venvs/t/bin/tool": "755 #!", "venvs/t/pyvenv.cfg": "x",
				"venvs/t/bin/python": "-> ~/.pyenv/versions/3.12/bin/python", ".pyenv/versions/3.12/bin/python": "exe",
			},
			path: []string{"~/bin"},
			want: []string{"~/.pyenv", "~/bin", "~/venvs/t"},
		},
		"an unknown prefix shows what its programs load": {
			files: map[string]string{"apps/jdk/bin/java": "exe", "apps/jdk/lib/modules": "x", "apps/jdk/conf/x": "x", "apps/jdk/diary": "x", "bin/y": "exe", "lib/z": "x"},
			path:  []string{"~/apps/jdk/bin", "~/bin"},
			want:  []string{"~/apps/jdk/bin", "~/apps/jdk/conf", "~/apps/jdk/lib", "~/bin"},
		},
		"nested ones are one": {
			files: map[string]string{"x/bin/a": "exe", "x/bin/sub/b": "exe", "x/bin-2/c": "exe", "x/bin/sub/.npmrc": "x"},
			path:  []string{"~/x/bin/sub", "~/x/bin", "~/x/bin-2"},
			want:  []string{"~/x/bin -sub/.npmrc", "~/x/bin-2"},
		},
		"a linked credential hides what it leads to": {
			files: map[string]string{"x/bin/a": "exe", "x/bin/.npmrc": "-> deep/deeper/rc1", "x/bin/deep/deeper/rc1": "x", "x/bin/.netrc": "-> ~/.netrc", ".netrc": "x"},
			path:  []string{"~/x/bin"},
			want:  []string{"~/x/bin -deep/deeper/rc1"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t)
			p.has(tt.files)
			p.path(tt.path...)
			for k, v := range tt.env {
				p.set(k, v)
			}
			if diff := cmp.Diff(tt.want, p.tools()); diff != "" {
				t.Errorf("tools (-want +got):\n%s", diff)
			}
		})
	}
}

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
			must(t, os.Chmod(filepath.Join(p.home, "open"), 0o777))
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
			must(t, os.Chmod(filepath.Join(asked.home, "open"), 0o777))
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
	must(t, Refusals(reports))

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
	must(t, os.Symlink("home", filepath.Join(p.root, "people")))
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
	must(t, err)
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
	must(b, err)
	for b.Loop() {
		FindTools(Machine(home, os.Environ()), Wanted{Workspace: "/nonexistent", MoatHome: home + "/.moat"})
	}
}
