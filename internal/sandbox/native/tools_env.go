package native

import (
	"path/filepath"
	"strings"

	"moat/internal/sandbox"
)

// systemPath ends every PATH inside (Debian's default for root; login.defs(5)).
func systemPath() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// carried are variables that tools need beside those in the table of layouts. They are kept where all that they
// name is visible.
func carried() []string {
	return []string{
		"NVM_BIN", "NVM_INC", "FNM_MULTISHELL_PATH", "ASDF_DIR", "SDKMAN_CANDIDATES_DIR", "JAVA_HOME", "JDK_HOME", "MAVEN_HOME", "M2_HOME",
		"GRADLE_HOME", "ANDROID_HOME", "ANDROID_SDK_ROOT", "GOROOT", "GOMODCACHE", "DOTNET_ROOT", "FLUTTER_ROOT",
		"CONDA_PREFIX", "CONDA_EXE", "CONDA_PYTHON_EXE", "MAMBA_EXE", "VIRTUAL_ENV", "GEM_HOME", "GEM_PATH", "RUBYLIB",
		"PERL5LIB", "PERL_LOCAL_LIB_ROOT", "NODE_PATH", "HOMEBREW_PREFIX", "HOMEBREW_CELLAR", "HOMEBREW_REPOSITORY",
		"NPM_CONFIG_PREFIX", "npm_config_prefix", "DENO_INSTALL_ROOT", "OPAM_SWITCH_PREFIX", "NIX_SSL_CERT_FILE",
	}
}

// ToolEnv returns PATH and the variables that make the tools work inside. PATH is the person's in order, without
// links, as far as it is visible inside, then the system's. Nothing in the result names what is not visible.
func ToolEnv(host Host, want Wanted, tools []sandbox.Tool) map[string]string {
	g := newGround(host, want)
	env := map[string]string{}
	for i := range g.layouts {
		l := &g.layouts[i]
		if l.set && env[l.env[0]] == "" && g.shows(l, tools) {
			env[l.env[0]] = l.root
		}
	}
	for _, key := range carried() {
		if v := g.translate(host.Getenv(key), tools); v != "" {
			env[key] = v
		}
	}
	env["PATH"] = g.insidePath(tools)
	return env
}

// shows tells whether the part of a place that its variable is for is among the tools.
func (g *ground) shows(l *place, tools []sandbox.Tool) bool {
	parts := l.visible()
	if l.envPart != "" {
		parts = []string{join(l.root, l.envPart)}
	}
	for _, part := range parts {
		if p, err := g.resolve(part); err == nil && inTools(tools, p) {
			return true
		}
	}
	return false
}

// translate turns a list of paths into what they are inside, or "" if one of them is not visible.
func (g *ground) translate(list string, tools []sandbox.Tool) string {
	var out []string
	for _, entry := range filepath.SplitList(list) {
		p := g.inside(entry, tools)
		if p == "" {
			return ""
		}
		out = append(out, p)
	}
	return strings.Join(out, ":")
}

func (g *ground) insidePath(tools []sandbox.Tool) string {
	seen := map[string]bool{"": true}
	var out []string
	add := func(p string) {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	for _, entry := range g.pathEntries() {
		add(g.inside(entry, tools))
	}
	for i := range g.layouts {
		if l := &g.layouts[i]; l.always && inTools(tools, l.root) {
			add(l.root)
		}
	}
	for _, entry := range systemPath() {
		add(entry)
	}
	return strings.Join(out, ":")
}

// inside is a host path as it is named in the sandbox, "" if it is not visible there. System paths keep their
// spelling, since /bin is a link inside as it is outside.
func (g *ground) inside(path string, tools []sandbox.Tool) string {
	if foreign(path) != "" {
		return ""
	}
	p, err := g.resolve(path)
	switch {
	case err != nil:
		return ""
	case g.inWorkspace(p):
		return filepath.Join("/workspace", strings.TrimPrefix(p, g.workspace))
	case system(p) && system(path):
		return filepath.Clean(path)
	case system(p) || inTools(tools, p):
		return p
	}
	return ""
}

// inTools tells whether a resolved path is visible in one of the tools.
func inTools(tools []sandbox.Tool, path string) bool {
	for _, t := range tools {
		if !under(t.Path, path) {
			continue
		}
		for _, m := range t.Mask {
			if under(m, path) {
				return false
			}
		}
		return true
	}
	return false
}
