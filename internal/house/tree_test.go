package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the module path of go.mod.
const module = "moat"

// A file is one parsed Go source file, whatever operating system it is for.
type file struct {
	path   string // slash-separated, from the module's root
	dir    string // of path: the package's path inside the module
	test   bool   // test code: a _test.go file, or a package that only tests use
	syntax *ast.File
	fset   *token.FileSet
}

// A tree is the source of the module, or a small one made by a test.
type tree []*file

// A problem is one breach of a rule.
type problem struct {
	where string // path:line, or a package's path
	what  string // what is wrong and what to do
}

func (p problem) String() string { return p.where + ": " + p.what }

// at makes a problem at a node of f.
func (f *file) at(node ast.Node, format string, args ...any) problem {
	return problem{
		where: fmt.Sprintf("%s:%d", f.path, f.line(node.Pos())),
		what:  fmt.Sprintf(format, args...),
	}
}

func (f *file) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// lines counts the lines from the first to the last one of node.
func (f *file) lines(node ast.Node) int { return f.line(node.End()) - f.line(node.Pos()) + 1 }

// imports maps the names of f's imports to their paths.
func (f *file) imports() map[string]string {
	names := map[string]string{}
	for _, spec := range f.syntax.Imports {
		target := importPath(spec)
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = target
	}
	return names
}

func importPath(spec *ast.ImportSpec) string {
	target, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has accepted it
	}
	return target
}

// selector returns "time.Sleep" for the expression time.Sleep where time is the
// import of that path, and "" for anything else.
func selector(imports map[string]string, node ast.Node) string {
	sel, ok := node.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name, ok := sel.X.(*ast.Ident)
	if !ok || imports[name.Name] == "" {
		return ""
	}
	return imports[name.Name] + "." + sel.Sel.Name
}

// packages groups the files by directory and package name.
func (t tree) packages() map[string][]*file {
	packages := map[string][]*file{}
	for _, f := range t {
		key := f.dir + " " + f.syntax.Name.Name
		packages[key] = append(packages[key], f)
	}
	return packages
}

// moduleRoot is the directory of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the house is not two folders below go.mod: %v", err)
	}
	return root
}

// walk calls visit with the slash-separated path of every file that belongs to
// the project. What git ignores by .gitignore (builds, npm packages) does not.
func walk(t *testing.T, root string, visit func(name string)) {
	t.Helper()
	ignored := []string{".git", "node_modules", "bin", "dist"}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		ignore := slices.Contains(ignored, path.Base(name))
		switch {
		case err != nil:
			return err
		case ignore && entry.IsDir():
			return fs.SkipDir
		case !ignore && entry.Type().IsRegular(): // in a worktree .git is a file
			visit(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// readSources returns the module's Go files, those of test data left out.
func readSources(t *testing.T) map[string]string {
	t.Helper()
	root := moduleRoot(t)
	sources := map[string]string{}
	walk(t, root, func(name string) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = string(content)
	})
	return sources
}

// parse turns sources, by path, into a tree in the order of their paths.
func parse(t *testing.T, sources map[string]string) tree {
	t.Helper()
	var parsed tree
	for name, source := range sources {
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		parsed = append(parsed, &file{
			path: name, dir: dir, syntax: syntax, fset: fset,
			test: strings.HasSuffix(name, "_test.go") || strings.HasSuffix(dir, "test") || roomOf(dir).testOnly,
		})
	}
	slices.SortFunc(parsed, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	return parsed
}
