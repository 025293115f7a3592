package native

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// ground is what is known about the machine while tools are looked for: links that were read, known tool homes
// that exist, and the places that must never be visible.
type ground struct {
	host      Host
	want      Wanted
	nodes     map[string]node
	home      string // free of links
	workspace string // free of links, "" if there is none
	moatHome  string
	avoid     []string
	layouts   []place
}

// node is one looked-up path whose parent is free of links.
type node struct {
	link   bool
	target string
	err    error
}

func newGround(host Host, want Wanted) *ground {
	g := &ground{host: host, want: want, nodes: map[string]node{}}
	g.home = g.resolved(host.Home())
	g.workspace = g.resolved(want.Workspace)
	g.moatHome = g.resolved(want.MoatHome)
	for _, p := range want.Avoid {
		g.avoid = append(g.avoid, g.resolved(p))
	}
	g.layouts = g.places()
	g.layouts = g.keepSafe(slices.Clone(g.layouts))
	return g
}

// resolved is the path without links, or the clean path itself where it cannot be resolved.
func (g *ground) resolved(path string) string {
	if path == "" {
		return ""
	}
	p, err := g.resolve(path)
	if err != nil {
		return filepath.Clean(path)
	}
	return p
}

// maxHops is the number of links in one look-up that the kernel allows (path_resolution(7)).
const maxHops = 40

// resolve returns an absolute path free of links, as the kernel would walk it.
func (g *ground) resolve(path string) (string, error) {
	return g.walk(path, func(string, node) {})
}

// walk resolves a path and shows every link on the way.
func (g *ground) walk(path string, each func(link string, n node)) (string, error) {
	rest := strings.Split(path, "/")
	cur := "/"
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			cur = filepath.Dir(cur)
			continue
		}
		next := join(cur, name)
		n := g.look(next)
		if n.err != nil {
			return "", n.err
		}
		if !n.link {
			cur = next
			continue
		}
		if under("/proc", next) {
			return "", errProc
		}
		if hops++; hops > maxHops {
			return "", errLoop
		}
		each(next, n)
		if filepath.IsAbs(n.target) {
			cur = "/"
		}
		rest = append(strings.Split(n.target, "/"), rest...)
	}
	return cur, nil
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// look reads one path once.
func (g *ground) look(path string) node {
	if n, ok := g.nodes[path]; ok {
		return n
	}
	var n node
	info, err := g.host.Lstat(path)
	switch {
	case err != nil:
		n.err = err
	case info.Mode()&fs.ModeSymlink != 0:
		n.link = true
		n.target, n.err = g.host.Readlink(path)
	}
	g.nodes[path] = n
	return n
}

// glob returns the existing paths below root that match a pattern in which a component may hold "*".
func (g *ground) glob(root, pattern string) []string {
	paths := []string{root}
	for _, part := range strings.Split(pattern, "/") {
		var next []string
		for _, p := range paths {
			next = append(next, g.children(p, part)...)
		}
		paths = next
	}
	return paths
}

// children returns what in a directory matches one component of a pattern; links to directories are not entered.
func (g *ground) children(dir, part string) []string {
	if !strings.Contains(part, "*") {
		p := join(dir, part)
		if g.look(p).err != nil {
			return nil
		}
		return []string{p}
	}
	entries, err := g.host.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if ok, _ := filepath.Match(part, e.Name()); ok {
			out = append(out, join(dir, e.Name()))
		}
	}
	return out
}

// pathEntries is the person's PATH without empty and repeated entries.
func (g *ground) pathEntries() []string {
	seen := map[string]bool{"": true}
	var out []string
	for _, e := range filepath.SplitList(g.host.Getenv("PATH")) {
		if !seen[e] && len(out) < maxPath {
			seen[e] = true
			out = append(out, e)
		}
	}
	return out
}

func (g *ground) inWorkspace(path string) bool {
	return g.workspace != "" && under(g.workspace, path)
}

// layoutOf is the innermost known tool home that shows a resolved path, or nil.
func (g *ground) layoutOf(path string) *place {
	var best *place
	for i := range g.layouts {
		l := &g.layouts[i]
		if l.onlyAsked || best != nil && len(best.root) >= len(l.root) || !under(l.root, path) {
			continue
		}
		for _, part := range l.visible() {
			if under(part, path) {
				best = l
			}
		}
	}
	return best
}

// markers are files that only the top of a package has.
func markers() []string {
	return []string{"package.json", "pyvenv.cfg", "conda-meta"}
}

// interpreters are the links by which a Python environment finds its interpreter.
func interpreters() []string { return []string{"bin/python", "bin/python3"} }

// maxClimb bounds how far above an executable the top of its package is looked for.
const maxClimb = 4

// packageRoot is the directory that an executable outside all known tool homes needs: the outermost node_modules,
// the directory with a package's marker, or the prefix around a bin directory. It is "" where none of these is,
// because the directory that merely holds the file may hold anything.
func (g *ground) packageRoot(target string) string {
	if i := strings.Index(target, "/node_modules/"); i >= 0 {
		return target[:i] + "/node_modules"
	}
	dir := filepath.Dir(target)
	for range maxClimb {
		if dir == "/" || dir == g.home {
			break
		}
		for _, m := range markers() {
			if g.look(join(dir, m)).err == nil {
				return dir
			}
		}
		dir = filepath.Dir(dir)
	}
	return g.prefixOf(filepath.Dir(target))
}

// loaded are the directories that stand beside a bin directory because its programs load what is in them.
func loaded() []string { return []string{"lib", "lib64", "libexec", "share", "jbr", "jre"} }

// prefixOf is the parent of a bin directory that stands beside the directories that its programs load, or "".
func (g *ground) prefixOf(bin string) string {
	switch filepath.Base(bin) {
	case "bin", "sbin", "libexec":
	default:
		return ""
	}
	prefix := filepath.Dir(bin)
	for _, beside := range loaded() {
		if n := g.look(join(prefix, beside)); n.err == nil {
			return prefix
		}
	}
	return ""
}

// under tells whether path is dir or below it; both are clean and absolute.
func under(dir, path string) bool {
	if dir == "/" {
		return true
	}
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}
