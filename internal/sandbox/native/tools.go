package native

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"moat/internal/sandbox"
)

// Host is everything that the search for tools may learn of the machine. Paths are absolute. No method follows a
// link in a path's last component; the search resolves links itself, so that it sees each of them.
type Host interface {
	// Home is the person's home directory, outside.
	Home() string
	// Getenv returns a variable of the person's environment, "" if it is not set.
	Getenv(key string) string
	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
	// ReadDir lists a directory sorted by name, at most maxEntries of it.
	ReadDir(path string) ([]fs.DirEntry, error)
	// ReadFile returns at most the first maxFile bytes of a regular file.
	ReadFile(path string) ([]byte, error)
}

const (
	maxEntries = 4096    // entries read of one directory
	maxFile    = 1 << 20 // bytes read of one file
	maxLinks   = 1024    // executable links followed in one PATH directory
	maxPath    = 128     // PATH entries looked at
)

// Wanted is what the person and the plan say about tools.
type Wanted struct {
	None      bool     // tools: none; nothing of the person's own tools is visible
	Paths     []string // tools: [paths]; "~/" is the home. Added to what is found, also with None
	Workspace string   // host directory that appears at /workspace: not searched, its PATH entries are translated
	MoatHome  string   // neither it nor a parent of it is ever visible
	Avoid     []string // further directories that a sandbox may have written: neither searched nor visible
}

// Report says what became of one tool home. A refused one is not visible inside.
type Report struct {
	Name    string   `json:"name"`    // of the tool ("nvm"), or "directory", "package", "file"
	Path    string   `json:"path"`    // without links where it could be resolved
	Why     string   `json:"why"`     // what led to it
	Asked   bool     `json:"asked"`   // the person named it; a refusal of it is an error
	Masked  []string `json:"masked"`  // absolute paths below Path that are hidden
	Refused string   `json:"refused"` // the reason why it is not visible; "" if it is
}

var (
	// ErrTool wraps the refusal of a path that the person asked for.
	ErrTool = errors.New("tool cannot be made visible")

	errLoop     = errors.New("too many levels of links")
	errProc     = errors.New("is in /proc") // its links mean the process that reads them, which is moat
	errTooLarge = errors.New("too many files")
)

// Refusals is the error of all asked-for paths that were refused, or nil.
func Refusals(reports []Report) error {
	var errs []error
	for _, r := range reports {
		if r.Asked && r.Refused != "" {
			errs = append(errs, fmt.Errorf("%w: %s: %s", ErrTool, r.Path, r.Refused))
		}
	}
	return errors.Join(errs...)
}

// FindTools decides which of the person's tool homes are visible inside: those on PATH, those that PATH
// directories and the executable links in them lead to, those that a tool's own variable names, and those that
// were asked for. It changes nothing and walks no tree. The tools are free of links, sorted and not nested in one
// another or in the system's directories; their masks are absolute, exist, are free of links and sorted.
func FindTools(host Host, want Wanted) ([]sandbox.Tool, []Report) {
	f := newFinder(host, want)
	if !want.None {
		f.searchPath()
		f.searchVariables()
	}
	for _, p := range want.Paths {
		f.ask(p)
	}
	return f.result()
}

// finder collects tool homes.
type finder struct {
	*ground
	found   map[string]*Report // by path
	refused map[string]*Report
	scanned map[string]bool // directories whose executable links were followed
}

func newFinder(host Host, want Wanted) *finder {
	return &finder{
		ground:  newGround(host, want),
		found:   map[string]*Report{},
		refused: map[string]*Report{},
		scanned: map[string]bool{},
	}
}

// searchPath takes each entry of PATH and what its executable links lead to.
func (f *finder) searchPath() {
	for _, entry := range f.pathEntries() {
		if f.entry(entry) {
			f.links(entry)
		}
	}
}

// entry takes one PATH entry and tells whether its links are worth following.
func (f *finder) entry(entry string) bool {
	why := "PATH"
	if reason := foreign(entry); reason != "" {
		f.refuse("directory", entry, why, reason)
		return false
	}
	dir, err := f.resolve(entry)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.inWorkspace(dir) {
		return false
	}
	if err != nil {
		f.refuse("directory", entry, why, err.Error())
		return false
	}
	if system(dir) {
		return !plainSystem(dir)
	}
	if dir != filepath.Clean(entry) {
		why = "PATH, through " + entry
	}
	if l := f.layoutOf(dir); l != nil {
		f.takeLayout(l, why)
		return !l.closed
	}
	f.beside(dir)
	return f.take("directory", dir, why)
}

// beside takes the directories from which the programs in an unknown bin directory load their parts, but not their
// parent, which may hold anything.
func (f *finder) beside(bin string) {
	switch prefix := filepath.Dir(bin); filepath.Base(bin) {
	case "bin", "sbin", "libexec":
		if prefix == f.home || f.reason(bin) != "" {
			return
		}
		for _, name := range append(loaded(), "conf", "jmods", "include", "modules", "plugins") {
			if p := join(prefix, name); f.look(p).err == nil && !f.look(p).link {
				f.take("directory", p, "beside "+bin)
			}
		}
	}
}

// links follows the executable links in one PATH entry.
func (f *finder) links(entry string) {
	dir, err := f.resolve(entry)
	if err != nil || f.scanned[dir] {
		return
	}
	f.scanned[dir] = true
	entries, err := f.host.ReadDir(dir)
	if err != nil {
		return
	}
	followed := 0
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if followed++; followed > maxLinks {
			return
		}
		f.link(filepath.Join(dir, e.Name()))
	}
}

// link takes the package of the executable that a link leads to.
func (f *finder) link(link string) {
	target, err := f.resolve(link)
	if err != nil || system(target) || f.covered(target) || f.inWorkspace(target) {
		return
	}
	info, err := f.host.Lstat(target)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return
	}
	f.takePackage(target, "link "+link)
}

// takePackage takes the smallest directory that the executable needs, or the file alone.
func (f *finder) takePackage(target, why string) {
	if l := f.layoutOf(target); l != nil {
		f.takeLayout(l, why)
		return
	}
	if root := f.packageRoot(target); root != "" && f.reason(root) == "" {
		if f.take("package", root, why) {
			f.follow(root, interpreters(), why)
		}
		return
	}
	f.take("file", target, why)
}

// searchVariables takes tool homes that their own variables name though PATH does not lead there.
func (f *finder) searchVariables() {
	for i := range f.layouts {
		l := &f.layouts[i]
		switch {
		case l.byEnv:
			f.takeLayout(l, strings.Join(l.env, ", "))
		case l.always:
			f.takeLayout(l, "known place")
		}
	}
}

// ask takes a path that the person named.
func (f *finder) ask(asked string) {
	path := asked
	if rest, ok := strings.CutPrefix(asked, "~"); ok && (rest == "" || rest[0] == '/') {
		path = filepath.Join(f.host.Home(), rest)
	}
	name := "directory"
	reason := ""
	if !filepath.IsAbs(path) {
		reason = "is not an absolute path (begin with / or ~/)"
	} else if p, err := f.resolve(path); errors.Is(err, fs.ErrNotExist) {
		reason = "does not exist"
	} else if err != nil {
		reason = err.Error()
	} else if path = p; !system(p) {
		name, reason = f.judge(p)
	}
	if reason != "" {
		f.refuse(name, path, "asked for", reason)
		f.refused[path].Asked = true
		return
	}
	if _, ok := f.found[path]; !ok {
		f.found[path] = &Report{Name: name, Path: path, Why: "asked for"}
	}
	f.found[path].Asked = true
}

// judge names what is at a resolved path and says why it may not be visible, "" if it may.
func (f *finder) judge(path string) (name, reason string) {
	name = "directory"
	info, err := f.host.Lstat(path)
	if err != nil {
		return name, err.Error()
	}
	if !info.IsDir() {
		name = "file"
		if !info.Mode().IsRegular() {
			return name, "is neither a directory nor a regular file"
		}
		if secretName(info.Name()) {
			return name, "is a credential file"
		}
	}
	if reason := f.reason(path); reason != "" {
		return name, reason
	}
	if info.Mode()&0o002 != 0 {
		return name, "can be written by everybody"
	}
	return name, ""
}

// take makes a resolved path visible unless it must not be, and tells whether it is.
func (f *finder) take(name, path, why string) bool {
	if system(path) || f.covered(path) {
		return true
	}
	if f.inWorkspace(path) {
		return false // visible at /workspace
	}
	if _, reason := f.judge(path); reason != "" {
		f.refuse(name, path, why, reason)
		return false
	}
	f.found[path] = &Report{Name: name, Path: path, Why: why}
	return true
}

// takeLayout makes a known tool home, its companions and the interpreters in it visible.
func (f *finder) takeLayout(l *place, why string) {
	if l.taken {
		return
	}
	l.taken = true
	for _, part := range l.visible() {
		p, err := f.resolve(part)
		if err != nil || !f.take(l.name, p, why) {
			continue
		}
		if r, ok := f.found[p]; ok {
			r.Name = l.name
		}
	}
	for _, file := range l.also {
		if p, err := f.resolve(f.home + file[1:]); err == nil {
			f.take(l.name, p, "read by "+l.name)
		}
	}
	f.follow(l.root, l.follow, why)
	for _, name := range l.with {
		for i := range f.layouts {
			if f.layouts[i].name == name {
				f.takeLayout(&f.layouts[i], "needed by "+l.name)
			}
		}
	}
}

// follow takes the packages of executables that links at the patterns below root lead to.
func (f *finder) follow(root string, patterns []string, why string) {
	for _, pattern := range patterns {
		for _, link := range f.glob(root, pattern) {
			f.link(link)
		}
	}
}

func (f *finder) refuse(name, path, why, reason string) {
	if _, ok := f.refused[path]; !ok {
		f.refused[path] = &Report{Name: name, Path: path, Why: why, Refused: reason}
	}
}

// covered tells whether a path is visible already because a found directory holds it.
func (f *finder) covered(path string) bool {
	for p := path; ; p = filepath.Dir(p) {
		if _, ok := f.found[p]; ok {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}

// result merges nested homes, finds their masks and sorts everything.
func (f *finder) result() ([]sandbox.Tool, []Report) {
	var tools []sandbox.Tool
	var reports []Report
	for _, path := range sortedKeys(f.found) {
		r := f.found[path]
		if n := len(tools); system(path) || n > 0 && under(tools[n-1].Path, path) {
			if r.Asked {
				reports = append(reports, *r)
			}
			continue
		}
		tools = append(tools, sandbox.Tool{Path: path})
		reports = append(reports, *r)
	}
	f.mask(tools)
	for _, path := range sortedKeys(f.refused) {
		reports = append(reports, *f.refused[path])
	}
	for i := range reports {
		reports[i].Masked = []string{} // a list in JSON, too
		for _, t := range tools {
			if t.Path == reports[i].Path {
				reports[i].Masked = append(reports[i].Masked, t.Mask...)
			}
		}
	}
	return tools, reports
}

func sortedKeys(m map[string]*Report) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, comparePaths)
	return keys
}

// comparePaths sorts a directory right before everything in it, which plain string order does not ("/a", "/a-b", "/a/b").
func comparePaths(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}
