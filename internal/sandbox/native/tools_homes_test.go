//go:build linux

package native

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
