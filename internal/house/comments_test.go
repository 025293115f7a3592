package house

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// sentenceEnd matches the end of a sentence. Abbreviations such as "e.g." have
// no two letters before the full stop.
var sentenceEnd = regexp.MustCompile("[\\pL\\pN`)\"'][\\pL\\pN`)\"'][.!?:](\\s|$)")

// packageComments finds packages that do not open by saying what they are for:
// "Package name …" in at least two sentences ("Command …" or so for a program).
func packageComments(t tree) []problem {
	var problems []problem
	for _, files := range t.packages() {
		if strings.HasSuffix(files[0].syntax.Name.Name, "_test") {
			continue
		}
		name, dir := files[0].syntax.Name.Name, files[0].dir
		var text string
		for _, f := range files {
			text += f.syntax.Doc.Text()
		}
		switch {
		case text == "":
			problems = append(problems, problem{dir, "package " + name + " has no package comment: say what it is for, what it promises, what it leaves to others"})
		case name != "main" && !strings.HasPrefix(text, "Package "+name+" "):
			problems = append(problems, problem{dir, "its comment should begin with: Package " + name})
		case len(sentenceEnd.FindAllString(text, -1)) < 2:
			problems = append(problems, problem{dir, "its package comment needs at least two sentences: what it is for, what it promises, what it leaves to others"})
		}
	}
	return problems
}

// exportedComments finds exported identifiers without a comment, outside tests
// and programs. Methods whose meaning an interface fixes, one of the standard
// library or one of the same package that says it, need none.
func exportedComments(t tree) []problem {
	var problems []problem
	documented := interfaceMethods(t)
	for _, f := range t {
		if f.test || f.syntax.Name.Name == "main" || ast.IsGenerated(f.syntax) {
			continue
		}
		for _, decl := range f.syntax.Decls {
			for _, ident := range uncommented(decl) {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil && documented[f.dir+"."+ident.Name] {
					continue
				}
				problems = append(problems, f.at(ident, "%s is exported and has no comment", ident.Name))
			}
		}
	}
	return problems
}

// interfaceMethods are the methods that an interface of a package describes, as "folder.Name".
func interfaceMethods(t tree) map[string]bool {
	methods := make(map[string]bool)
	for _, f := range t {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			i, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			for _, m := range i.Methods.List {
				for _, name := range m.Names {
					if m.Doc != nil || m.Comment != nil {
						methods[f.dir+"."+name.Name] = true
					}
				}
			}
			return true
		})
	}
	return methods
}

// uncommented returns the exported names that decl declares without a comment.
func uncommented(decl ast.Decl) []*ast.Ident {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Doc == nil && decl.Name.IsExported() && !knownMethod(decl) {
			return []*ast.Ident{decl.Name}
		}
	case *ast.GenDecl:
		if decl.Tok == token.IMPORT || (decl.Doc != nil && (decl.Tok != token.TYPE || !decl.Lparen.IsValid())) {
			return nil // a block of constants or variables may share one comment
		}
		var names []*ast.Ident
		for _, spec := range decl.Specs {
			names = append(names, uncommentedSpec(spec)...)
		}
		return names
	}
	return nil
}

func uncommentedSpec(spec ast.Spec) []*ast.Ident {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Doc == nil && spec.Comment == nil && spec.Name.IsExported() {
			return []*ast.Ident{spec.Name}
		}
	case *ast.ValueSpec:
		if spec.Doc == nil && spec.Comment == nil {
			return slices.DeleteFunc(slices.Clone(spec.Names), func(n *ast.Ident) bool { return !n.IsExported() })
		}
	}
	return nil
}

// knownMethod reports whether decl is a method of an unexported type, or one that
// the standard library has given its meaning.
func knownMethod(decl *ast.FuncDecl) bool {
	if decl.Recv == nil {
		return false
	}
	known := []string{
		"Error", "Unwrap", "Is", "As", "String", "GoString", "Format", "LogValue",
		"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "MarshalYAML", "UnmarshalYAML",
		"Len", "Less", "Swap", "Read", "Write", "ServeHTTP",
	}
	return slices.Contains(known, decl.Name.Name) || !ast.IsExported(receiver(decl))
}

// receiver returns the name of the type that decl is a method of.
func receiver(decl *ast.FuncDecl) string {
	expr := decl.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// The start of a comment that silences a linter, and the form that it must have.
var (
	nolintStart = regexp.MustCompile(`^//\s*nolint\b`)
	nolintForm  = regexp.MustCompile(`^//nolint:[a-z0-9,]+ // \S`)
)

// nolints finds comments that silence a linter without naming it and a reason.
func nolints(t tree) []problem {
	var problems []problem
	for _, f := range t {
		for _, group := range f.syntax.Comments {
			for _, comment := range group.List {
				if nolintStart.MatchString(comment.Text) && !nolintForm.MatchString(comment.Text) {
					problems = append(problems, f.at(comment, "write //nolint:linter // reason"))
				}
			}
		}
	}
	return problems
}
