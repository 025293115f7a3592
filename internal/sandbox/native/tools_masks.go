package native

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"moat/internal/sandbox"
)

// maxScanned bounds the directories below one tool home whose names are looked through.
const maxScanned = 64

// mask finds the credentials in tools that were merged from the found homes.
func (f *finder) mask(tools []sandbox.Tool) {
	hidden := map[string]bool{}
	for _, path := range sortedKeys(f.found) {
		f.scan(path, hidden)
	}
	for i := range f.layouts {
		l := &f.layouts[i]
		touches := func(t sandbox.Tool) bool { return under(t.Path, l.root) || under(l.root, t.Path) }
		if !slices.ContainsFunc(tools, touches) {
			continue
		}
		for _, pattern := range l.masks {
			for _, p := range f.glob(l.root, pattern) {
				hidden[p] = true
			}
		}
	}
	for p := range hidden {
		f.hide(tools, p)
	}
	for i := range tools {
		tools[i].Mask = outermost(tools[i].Mask)
	}
}

// outermost sorts paths and leaves out those in another one.
func outermost(paths []string) []string {
	slices.SortFunc(paths, comparePaths)
	out := paths[:0]
	for _, p := range paths {
		if len(out) == 0 || !under(out[len(out)-1], p) {
			out = append(out, p)
		}
	}
	return out
}

// hide adds a path to the mask of the tool that holds it. A link is not hidden itself: what it leads to is, if that
// is visible at all.
func (f *finder) hide(tools []sandbox.Tool, path string) {
	p, err := f.resolve(path)
	if err != nil {
		return
	}
	for i := range tools {
		if t := &tools[i]; p != t.Path && under(t.Path, p) {
			t.Mask = append(t.Mask, p)
		}
	}
}

// scan looks through the names in a home and in its directories.
func (f *finder) scan(root string, hidden map[string]bool) {
	for i := range f.layouts {
		if l := &f.layouts[i]; l.noScan && under(l.root, root) {
			return
		}
	}
	dirs := f.scanDir(root, hidden)
	slices.SortStableFunc(dirs, func(a, b string) int { return rank(a) - rank(b) })
	for _, dir := range dirs[:min(len(dirs), maxScanned)] {
		if rank(dir) < bulk {
			f.scanDir(dir, hidden)
		}
	}
}

// scanDir marks the credentials in one directory and returns the directories in it.
func (f *finder) scanDir(dir string, hidden map[string]bool) (dirs []string) {
	entries, err := f.host.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		path := join(dir, e.Name())
		switch {
		case e.IsDir() && secretDir(e.Name()):
			hidden[path] = true
		case e.IsDir():
			dirs = append(dirs, path)
		case secretName(e.Name()), doubtfulName(e.Name()) && f.holdsSecret(path):
			hidden[path] = true
		}
	}
	return dirs
}

// bulk is the rank of directories of programs and packages.
const bulk = 2

// rank puts directories of settings first and tells those that are only large.
func rank(dir string) int {
	switch name := filepath.Base(dir); name {
	case "bin", "lib", "lib64", "libexec", "include", "share", "shims", "man", "Cellar", "Caskroom", "opt", "pkgs",
		"node_modules", "site-packages", "registry", "conda-meta", "toolchains", "installs", "versions":
		return bulk
	case "etc", "conf", "config":
		return 0
	default:
		if name[0] == '.' {
			return 0
		}
		return 1
	}
}

// secretDir tells whether a directory holds credentials by its name.
func secretDir(name string) bool {
	switch name {
	case "credentials", ".credentials", "keystores", "secrets", ".secrets", "private_keys":
		return true
	}
	return sensitive(name)
}

// secretName tells whether a file is a credential by its name alone.
func secretName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case ".npmrc", ".yarnrc", ".netrc", "_netrc", "netrc", ".pypirc", ".git-credentials", ".dockercfg", ".dockerconfigjson",
		".condarc", "auth.json", "auth.toml", "auth.yml", "auth.yaml", "hosts.yml", "hosts.yaml", ".claude.json",
		"oauth_creds.json", "google_accounts.json", "application_default_credentials.json", "access_tokens.db",
		"token", ".token", "token.json", "tokens.json", "token.txt", "secrets.json", "secrets.yml", "secrets.yaml",
		"secrets.toml", "pub-tokens.json", ".vault-token", ".boto", ".s3cfg", ".pgpass", ".my.cnf", "kubeconfig",
		"settings-security.xml", "wasmer.toml", ".terraformrc", "credentials.tfrc.json",
		"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", ".env", ".envrc":
		return true
	}
	if rest, ok := strings.CutPrefix(name, ".env."); ok {
		return rest != "example" && rest != "sample" && rest != "template" && rest != "dist"
	}
	switch filepath.Ext(name) {
	case ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".keytab":
		return true
	case ".go", ".rs", ".js", ".ts", ".py", ".rb", ".md", ".html", ".pub":
		return false
	}
	return strings.HasPrefix(strings.TrimPrefix(name, "."), "credentials") ||
		strings.HasSuffix(name, "_token") || strings.HasSuffix(name, "-token") || strings.HasSuffix(name, ".token")
}

// doubtfulName tells whether a file may hold a credential, so that its content must be looked at.
func doubtfulName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "config", "config.json", "config.toml", "config.yml", "config.yaml", "config.ini", "settings.xml", "settings.json",
		"settings.toml", "gradle.properties", "npmrc", ".yarnrc.yml", "pip.conf", ".pip.conf", "bunfig.toml", ".bunfig.toml",
		"nuget.config", "rc", ".gitconfig", ".curlrc", ".wgetrc", ".aider.conf.yml", "conf.json", "init.gradle":
		return true
	}
	return filepath.Ext(name) == ".pem" || strings.HasPrefix(name, "id_") && filepath.Ext(name) != ".pub"
}

// holdsSecret looks into a file for the signs of a credential. What cannot be looked at counts as one.
func (g *ground) holdsSecret(path string) bool {
	p, err := g.resolve(path)
	if err != nil {
		return false
	}
	info, err := g.host.Lstat(p)
	if err != nil || info.IsDir() {
		return false
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return true
	}
	content, err := g.host.ReadFile(p)
	return err != nil || secretContent(filepath.Ext(path), content)
}

// secretContent errs on the side of hiding: a hidden settings file is a nuisance, a shown token is a leak. Only
// certificates are asked more exactly, as hiding them breaks TLS.
func secretContent(ext string, content []byte) bool {
	lower := bytes.ToLower(content)
	if bytes.Contains(lower, []byte("private key-----")) {
		return true
	}
	if ext == ".pem" {
		return false
	}
	for _, sign := range []string{"_auth", "\"auth", "authorization", "token", "password", "passwd", "secret", "api_key", "api-key", "apikey", "access_key", "accesskey", "bearer ", "/t/"} {
		if bytes.Contains(lower, []byte(sign)) {
			return true
		}
	}
	return userinfo(content)
}

// userinfo finds a URL with a name and a password ("https://name:password@host").
func userinfo(content []byte) bool {
	for {
		_, rest, ok := bytes.Cut(content, []byte("://"))
		if !ok {
			return false
		}
		end := bytes.IndexAny(rest, "/ \t\r\n\"'<>")
		if end < 0 {
			end = len(rest)
		}
		if bytes.IndexByte(rest[:end], '@') > 0 {
			return true
		}
		content = rest
	}
}
