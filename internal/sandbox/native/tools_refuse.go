package native

import (
	"path/filepath"
	"slices"
	"strings"
)

// systemDirs are visible in every sandbox that is made of the host's system directories.
func systemDirs() []string {
	return []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc"}
}

// system tells whether a resolved path is visible without being a tool.
func system(path string) bool {
	return slices.ContainsFunc(systemDirs(), func(d string) bool { return under(d, path) })
}

// plainSystem tells whether the distribution alone fills a system directory: its links lead nowhere else.
func plainSystem(dir string) bool {
	return !under("/usr/local", dir) && !under("/opt", dir)
}

// foreign says why a PATH entry cannot work inside whatever it holds, "" if it may.
func foreign(entry string) string {
	switch {
	case !filepath.IsAbs(entry):
		return "is not an absolute path"
	case under("/snap", entry) || under("/var/lib/snapd", entry):
		return "snap programs need snapd, which is not inside"
	case len(entry) >= 6 && strings.HasPrefix(entry, "/mnt/") && (len(entry) == 6 || entry[6] == '/'):
		return "Windows programs need the host's interop, which is not inside" // /mnt/c on WSL
	}
	return ""
}

// kernelDirs hold no tools; what is in them must not be shown.
func kernelDirs() []string {
	return []string{
		"/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/lost+found", "/var/run", "/var/lib", "/var/log",
		"/var/spool", "/var/cache", "/var/backups", "/var/mail",
	}
}

// sensitive are directories of keys and credentials, wherever they are; nothing in them is ever visible.
func sensitive(name string) bool {
	switch name {
	case ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".oci", ".gcloud", ".password-store", ".pki",
		".vault", ".minikube", ".keychain", ".1password", ".op", ".bitwarden", ".electrum", ".bitcoin", ".ethereum",
		".mozilla", ".thunderbird", ".var", ".chef", ".puppetlabs", ".terraform.d", ".android", ".cert", ".certs",
		"keyrings", "kwalletd", "gnome-online-accounts", "gcloud", ".step", ".sops", ".age", ".mail", "Maildir":
		return true
	}
	return false
}

// mixed are directories of settings, histories and tokens in which some programs also keep themselves: only known
// tool homes in them are visible.
func mixed(name string) bool {
	switch name {
	case ".config", ".claude", ".codex", ".gemini", ".cursor", ".factory", ".qwen", "snap":
		return true
	}
	return false
}

// personal are directories, relative to the home, that hold more than one thing: never visible as a whole.
func personal() []string {
	return []string{
		".local", ".local/share", ".local/state", ".cache", "Desktop", "Documents", "Downloads", "Dropbox", "Music",
		"Nextcloud", "OneDrive", "Pictures", "Public", "Templates", "Videos",
	}
}

// private are directories of browsers' data, relative to the home, that have an innocent name elsewhere.
func private() []string {
	return []string{
		".cache/mozilla", ".cache/google-chrome", ".cache/chromium", ".cache/BraveSoftware", ".cache/microsoft-edge",
	}
}

// reason says why a resolved path must not be visible, "" if it may.
func (g *ground) reason(path string) string {
	switch {
	case path == "/" || filepath.Dir(path) == "/":
		return "is a directory of the system"
	case under(path, g.home):
		return "is the home directory or holds it"
	case g.workspace != "" && under(path, g.workspace):
		return "holds the workspace"
	case g.inWorkspace(path):
		return "is in the workspace, which is visible at /workspace"
	case g.moatHome != "" && (under(path, g.moatHome) || under(g.moatHome, path)):
		return "would show moat's own records"
	}
	for _, a := range g.avoid {
		if under(a, path) || under(path, a) {
			return "a sandbox may have written it"
		}
	}
	if under(g.home, path) {
		return g.reasonAtHome(path)
	}
	return g.reasonElsewhere(path)
}

func (g *ground) reasonAtHome(path string) string {
	rel := strings.TrimPrefix(path, g.home+"/")
	if slices.Contains(personal(), rel) {
		return "holds unrelated files"
	}
	for _, p := range private() {
		if under(p, rel) {
			return "is in a browser's data"
		}
	}
	return g.sensitivePart(path, rel)
}

func (g *ground) reasonElsewhere(path string) string {
	for _, dir := range kernelDirs() {
		if under(dir, path) {
			return "is in " + dir
		}
	}
	if g.otherHome(path) {
		return "is another account's"
	}
	return g.sensitivePart(path, path)
}

// sensitivePart looks at every component of rel, which is the end of path.
func (g *ground) sensitivePart(path, rel string) string {
	known := len(path) - len(rel) // up to here mixed directories are passed
	for i := range g.layouts {
		for _, part := range g.layouts[i].visible() {
			if under(part, path) && !mixed(filepath.Base(part)) {
				known = max(known, len(part))
			}
		}
	}
	at := len(path) - len(rel)
	for _, name := range strings.Split(rel, "/") {
		at += len(name)
		if sensitive(name) || mixed(name) && at > known {
			return "is in " + name + ", which holds credentials or settings"
		}
		at++
	}
	return ""
}

// otherHome tells whether a path outside the person's home is in somebody else's.
func (g *ground) otherHome(path string) bool {
	for i := range g.layouts {
		if l := &g.layouts[i]; l.shared && under(l.root, path) {
			return false
		}
	}
	parent := filepath.Dir(g.home)
	switch filepath.Base(parent) {
	case "home", "Users", "homes":
		if under(parent, path) {
			return true
		}
	}
	return under("/home", path) || under("/root", path) || under("/Users", path) || under("/var/home", path)
}
