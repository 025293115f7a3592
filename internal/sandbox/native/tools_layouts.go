package native

import (
	"path/filepath"
	"slices"
	"strings"
)

// layout is what is known about where a tool keeps itself. Roots begin with "~/" or "/", all other patterns
// are relative to the root; a component may hold "*".
type layout struct {
	name      string
	env       []string // variables that name the root
	roots     []string // where it is without them
	parts     []string // what of the root is visible; nil: all of it
	set       bool     // the first variable is set inside, as without it the tool looks below $HOME
	envPart   string   // ... but only where this part is visible
	also      []string // files elsewhere that it reads
	with      []string // other layouts that it needs
	follow    []string // links to interpreters outside the root
	masks     []string // credentials that secretName does not find, or deeper than the scan
	closed    bool     // links in it lead nowhere else, and it is too large to look through
	noScan    bool     // holds no credentials by design
	always    bool     // visible where it exists, as people start it by an alias
	onlyAsked bool     // visible only where asked for
	shared    bool     // may be in another account's home
}

// place is a layout at one root that exists.
type place struct {
	layout
	root  string // free of links
	byEnv bool   // a variable of the person names it
	taken bool
}

// visible are the paths of the place that may be visible; not all need exist.
func (p *place) visible() []string {
	if p.parts == nil {
		return []string{p.root}
	}
	out := make([]string, 0, len(p.parts))
	for _, part := range p.parts {
		out = append(out, join(p.root, part))
	}
	return out
}

// places finds the roots of all layouts that exist, those that variables name first.
func (g *ground) places() []place {
	var out []place
	add := func(l layout, root string, byEnv bool) {
		p, err := g.resolve(root)
		same := func(o place) bool { return o.name == l.name && o.root == p }
		if err == nil && p != "/" && !slices.ContainsFunc(out, same) {
			out = append(out, place{layout: l, root: p, byEnv: byEnv})
		}
	}
	for _, l := range layouts() {
		for _, key := range l.env {
			for _, v := range filepath.SplitList(g.host.Getenv(key)) {
				if filepath.IsAbs(v) {
					add(l, v, true)
				}
			}
		}
		for _, root := range l.roots {
			base, pattern := "", root
			if root[0] == '~' {
				base, pattern = g.home, root[2:]
			}
			for _, p := range g.glob(base, strings.TrimPrefix(pattern, "/")) {
				add(l, p, false)
			}
		}
	}
	return out
}

// keepSafe drops places that would show what must never be visible, so that what is in them is judged by itself.
func (g *ground) keepSafe(places []place) []place {
	return slices.DeleteFunc(places, func(p place) bool { return p.parts == nil && g.reason(p.root) != "" })
}

// layouts is the table of docs/tools.md.
func layouts() []layout {
	return slices.Concat(nodeLayouts(), pythonLayouts(), rubyLayouts(), nativeLayouts(), jvmLayouts(), managerLayouts(), agentLayouts())
}

func nodeLayouts() []layout {
	return []layout{
		{name: "nvm", set: true, env: []string{"NVM_DIR"}, roots: []string{"~/.nvm", "~/.config/nvm"}, masks: []string{"versions/node/*/etc/npmrc", "versions/io.js/*/etc/npmrc"}},
		{name: "fnm", set: true, env: []string{"FNM_DIR"}, roots: []string{"~/.local/share/fnm", "~/.fnm"}, masks: []string{"node-versions/*/installation/etc/npmrc"}},
		{name: "volta", set: true, env: []string{"VOLTA_HOME"}, roots: []string{"~/.volta"}, masks: []string{"tools/image/node/*/etc/npmrc"}},
		{name: "nodenv", set: true, env: []string{"NODENV_ROOT"}, roots: []string{"~/.nodenv"}, masks: []string{"versions/*/etc/npmrc"}},
		{name: "n", set: true, env: []string{"N_PREFIX"}, roots: []string{"~/n"}, parts: []string{"bin", "lib", "n", "include", "share"}},
		{name: "npm prefix", env: []string{"NPM_CONFIG_PREFIX", "npm_config_prefix"}, roots: []string{"~/.npm-global", "~/.npm-packages"}, parts: []string{"bin", "lib", "share"}},
		{name: "pnpm", set: true, env: []string{"PNPM_HOME"}, roots: []string{"~/.local/share/pnpm", "~/.pnpm"}, masks: []string{"nodejs/*/etc/npmrc"}},
		{name: "yarn", roots: []string{"~/.yarn", "~/.config/yarn/global", "~/.local/share/yarn"}},
		{name: "bun", set: true, env: []string{"BUN_INSTALL"}, roots: []string{"~/.bun"}},
		{name: "deno", set: true, env: []string{"DENO_INSTALL", "DENO_INSTALL_ROOT"}, roots: []string{"~/.deno"}},
	}
}

func pythonLayouts() []layout {
	venvs := []string{"*/bin/python", "*/bin/python3"}
	conda := []string{".continuum", ".config", "etc/conda/.condarc", "envs/*/.condarc", "envs/*/etc/conda/*token*"}
	return []layout{
		{name: "pyenv", set: true, env: []string{"PYENV_ROOT"}, roots: []string{"~/.pyenv"}, follow: []string{"versions/*/bin/python"}},
		{name: "pipx", set: true, env: []string{"PIPX_HOME"}, roots: []string{"~/.local/share/pipx", "~/.local/pipx"}, follow: []string{"venvs/*/bin/python", "shared/bin/python"}, masks: []string{"venvs/*/pip.conf"}},
		{name: "uv tools", set: true, env: []string{"UV_TOOL_DIR"}, roots: []string{"~/.local/share/uv/tools"}, follow: venvs},
		{name: "uv python", set: true, env: []string{"UV_PYTHON_INSTALL_DIR"}, roots: []string{"~/.local/share/uv/python"}},
		{name: "poetry", roots: []string{"~/.local/share/pypoetry"}, follow: []string{"venv/bin/python"}},
		{name: "rye", set: true, env: []string{"RYE_HOME"}, roots: []string{"~/.rye"}},
		{name: "pixi", set: true, env: []string{"PIXI_HOME"}, roots: []string{"~/.pixi"}},
		{name: "virtualenv", env: []string{"VIRTUAL_ENV"}, follow: interpreters()},
		{name: "conda", env: []string{"CONDA_PREFIX"}, closed: true, masks: conda, roots: []string{
			"~/miniconda3", "~/miniforge3", "~/mambaforge", "~/anaconda3", "~/miniconda", "~/miniforge", "~/anaconda",
			"~/.miniconda3", "~/.miniforge3", "~/.conda/envs",
		}},
		{name: "mamba", set: true, env: []string{"MAMBA_ROOT_PREFIX"}, closed: true, masks: conda, roots: []string{"~/micromamba", "~/.local/share/mamba"}},
		{name: "~/.local", set: true, env: []string{"PYTHONUSERBASE"}, roots: []string{"~/.local"}, parts: []string{"bin", "lib"}, envPart: "lib"},
	}
}

func rubyLayouts() []layout {
	return []layout{
		{name: "rbenv", set: true, env: []string{"RBENV_ROOT"}, roots: []string{"~/.rbenv"}},
		{name: "rvm", env: []string{"rvm_path"}, roots: []string{"~/.rvm"}},
		{name: "rubies", roots: []string{"~/.rubies"}},
		{name: "gem", env: []string{"GEM_HOME"}, roots: []string{"~/.gem", "~/.local/share/gem"}},
		{name: "composer", roots: []string{"~/.config/composer/vendor", "~/.composer/vendor"}},
		{name: "phpenv", env: []string{"PHPENV_ROOT"}, roots: []string{"~/.phpenv"}},
		{name: "perl", roots: []string{"~/perl5", "~/.plenv"}},
	}
}

func nativeLayouts() []layout {
	return []layout{
		{name: "cargo", set: true, env: []string{"CARGO_HOME"}, roots: []string{"~/.cargo"}, with: []string{"rustup"}},
		{name: "rustup", set: true, env: []string{"RUSTUP_HOME"}, roots: []string{"~/.rustup"}},
		{name: "go", env: []string{"GOROOT"}, roots: []string{"~/.local/go", "~/sdk/go*"}},
		{name: "gopath", set: true, env: []string{"GOPATH"}, roots: []string{"~/go"}, parts: []string{"bin", "pkg"}, envPart: "pkg"},
		{name: "goenv", set: true, env: []string{"GOENV_ROOT"}, roots: []string{"~/.goenv", "~/.gvm"}},
		{name: "ghcup", roots: []string{"~/.ghcup"}},
		{name: "cabal", set: true, env: []string{"CABAL_DIR"}, roots: []string{"~/.cabal"}},
		{name: "stack", set: true, env: []string{"STACK_ROOT"}, roots: []string{"~/.stack"}, masks: []string{"upload"}},
		{name: "opam", set: true, env: []string{"OPAMROOT"}, roots: []string{"~/.opam"}},
		{name: "elan", set: true, env: []string{"ELAN_HOME"}, roots: []string{"~/.elan"}},
		{name: "julia", roots: []string{"~/.juliaup", "~/.julia"}, masks: []string{"servers/*/auth.toml", "logs"}},
		{name: "swiftly", set: true, env: []string{"SWIFTLY_HOME_DIR"}, roots: []string{"~/.local/share/swiftly", "~/.swiftly"}},
		{name: "foundry", env: []string{"FOUNDRY_DIR"}, roots: []string{"~/.foundry"}, masks: []string{"keystores"}},
		{name: "nimble", roots: []string{"~/.nimble", "~/.choosenim"}},
		{name: "dart", set: true, env: []string{"PUB_CACHE"}, roots: []string{"~/.pub-cache"}},
		{name: "flutter", env: []string{"FLUTTER_ROOT"}, roots: []string{"~/flutter", "~/fvm"}},
		{name: "dotnet", env: []string{"DOTNET_ROOT"}, roots: []string{"~/.dotnet"}, masks: []string{"corefx"}},
	}
}

func jvmLayouts() []layout {
	return []layout{
		{name: "sdkman", set: true, env: []string{"SDKMAN_DIR"}, roots: []string{"~/.sdkman"}, masks: []string{"candidates/maven/*/conf/settings.xml", "candidates/gradle/*/gradle.properties"}},
		{name: "jdk", env: []string{"JAVA_HOME"}, roots: []string{"~/.jdks"}},
		{name: "jabba", env: []string{"JABBA_HOME"}, roots: []string{"~/.jabba", "~/.jenv"}},
		{name: "maven", env: []string{"MAVEN_HOME", "M2_HOME"}, masks: []string{"conf/settings.xml"}},
		{name: "gradle", env: []string{"GRADLE_HOME"}},
		{name: "coursier", roots: []string{"~/.local/share/coursier"}},
		{name: "android sdk", env: []string{"ANDROID_HOME", "ANDROID_SDK_ROOT"}, roots: []string{"~/Android/Sdk"}},
	}
}

func managerLayouts() []layout {
	npmrc := []string{"installs/node/*/etc/npmrc", "installs/nodejs/*/etc/npmrc", "installs/nodejs/*/.npm/etc/npmrc", "installs/rust/*/credentials*"}
	return []layout{
		{name: "asdf", set: true, env: []string{"ASDF_DATA_DIR", "ASDF_DIR"}, roots: []string{"~/.asdf"}, also: []string{"~/.tool-versions", "~/.asdfrc"}, masks: npmrc},
		{name: "mise", set: true, env: []string{"MISE_DATA_DIR"}, roots: []string{"~/.local/share/mise"}, also: []string{"~/.tool-versions"}, masks: npmrc},
		{name: "mise settings", roots: []string{"~/.config/mise"}, onlyAsked: true},
		{name: "proto", set: true, env: []string{"PROTO_HOME"}, roots: []string{"~/.proto"}},
		{name: "homebrew", env: []string{"HOMEBREW_PREFIX"}, roots: []string{"/home/linuxbrew/.linuxbrew", "~/.linuxbrew"}, closed: true, shared: true, masks: []string{
			"var/[^h]*", "var/h[^o]*", // services' data; var/homebrew holds brew's own links
			"etc/openvpn", "etc/wireguard", "etc/*/*.key", "etc/openssl*/private",
		}},
		{name: "nix", roots: []string{"/nix/store"}, closed: true, noScan: true},
		{name: "guix", roots: []string{"/gnu/store"}, closed: true, noScan: true},
	}
}

func agentLayouts() []layout {
	return []layout{
		{name: "claude", roots: []string{"~/.local/share/claude"}, parts: []string{"versions"}},
		{name: "claude (local)", roots: []string{"~/.claude/local"}, always: true},
		{name: "codex", roots: []string{"~/.codex"}, parts: []string{"packages"}},
		{name: "opencode", roots: []string{"~/.opencode"}, parts: []string{"bin", "node_modules"}},
		{name: "cursor-agent", roots: []string{"~/.local/share/cursor-agent"}, parts: []string{"versions"}},
		{name: "amp", roots: []string{"~/.amp"}, parts: []string{"bin", "packages"}},
	}
}
