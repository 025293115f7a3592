//go:build linux

package native

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// plant makes files below dir. A value is "x" (any content), "dir", "-> target" (a link), "exe" (a copy of a real program),
// "MODE" or "MODE content"; everything else is content.
func plant(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, value := range files {
		path := filepath.Join(dir, name)
		okay(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode, content, _ := strings.Cut(value, " ")
		bits, err := strconv.ParseUint(mode, 8, 12)
		switch {
		case value == "dir":
			okay(t, os.MkdirAll(path, 0o755))
		case value == "exe":
			program, err := os.ReadFile("/bin/true")
			okay(t, err)
			okay(t, os.WriteFile(path, program, 0o755))
		case mode == "->":
			okay(t, os.Symlink(content, path))
		case err == nil:
			okay(t, os.WriteFile(path, []byte(content), 0o600))
			okay(t, os.Chmod(path, os.FileMode(bits)))
		default:
			okay(t, os.WriteFile(path, []byte(value), 0o644))
		}
	}
}

func mkfifo(t testing.TB, path string) {
	t.Helper()
	okay(t, unix.Mkfifo(path, 0o644))
}

func okay(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

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
	okay(t, err)
	p := &person{t: t, root: root, home: filepath.Join(root, "home/alice")}
	okay(t, os.MkdirAll(p.home, 0o755))
	okay(t, os.MkdirAll(filepath.Join(root, "src/app"), 0o755))
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
	plant(p.t, p.home, expanded)
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
