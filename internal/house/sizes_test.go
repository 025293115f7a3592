package house

import (
	"go/ast"
)

// The sizes that fail, and those that are listed by `go test -v` as a warning.
const (
	maxFunctionLines, longFunctionLines = 100, 60
	maxFileLines, longFileLines         = 600, 400
	maxParameters, manyParameters       = 6, 4
	maxInterfaceMethods                 = 6
)

// A measured thing has a size, and the two sizes that it should stay below.
type measured struct {
	problem
	size, warn, fail int
}

// sizes finds what is too large.
func sizes(t tree) []problem {
	return selectMeasured(t, func(m measured) bool { return m.size > m.fail })
}

// growing finds what is large, and not yet too large.
func growing(t tree) []problem {
	return selectMeasured(t, func(m measured) bool { return m.size > m.warn && m.size <= m.fail })
}

func selectMeasured(t tree, wanted func(measured) bool) []problem {
	var problems []problem
	for _, f := range t {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		for _, m := range append(measure(f), measureInterfaces(t, f)...) {
			if wanted(m) {
				problems = append(problems, m.problem)
			}
		}
	}
	return problems
}

// measure takes the sizes of f and its functions.
func measure(f *file) []measured {
	lines := f.fset.File(f.syntax.FileStart).LineCount()
	all := []measured{{
		problem: f.at(f.syntax, "the file has %d lines (aim below %d, at most %d)", lines, longFileLines, maxFileLines),
		size:    lines, warn: longFileLines, fail: maxFileLines,
	}}
	for _, decl := range f.syntax.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			all = append(all, measureFunction(f, fn)...)
		}
	}
	return all
}

func measureFunction(f *file, fn *ast.FuncDecl) []measured {
	lines := f.lines(fn)
	if f.test {
		lines -= tableLines(f, fn) // a test's table is data
	}
	parameters := fn.Type.Params.NumFields()
	return []measured{
		{
			problem: f.at(fn, "%s has %d lines (at most %d): make it a list of named steps", fn.Name.Name, lines, maxFunctionLines),
			size:    lines, warn: longFunctionLines, fail: maxFunctionLines,
		},
		{
			problem: f.at(fn, "%s has %d parameters (at most %d, and above %d a struct reads better)", fn.Name.Name, parameters, maxParameters, manyParameters),
			size:    parameters, warn: manyParameters, fail: maxParameters,
		},
	}
}

// tableLines counts the lines inside the composite literals of fn.
func tableLines(f *file, fn *ast.FuncDecl) int {
	total := 0
	ast.Inspect(fn, func(node ast.Node) bool {
		literal, ok := node.(*ast.CompositeLit)
		if ok {
			total += f.lines(literal) - 1
		}
		return !ok
	})
	return total
}

// measureInterfaces counts the methods of f's interfaces, those of embedded
// interfaces of the same package included; one from elsewhere counts as one.
func measureInterfaces(t tree, f *file) []measured {
	var all []measured
	for name, spec := range interfaces(f) {
		methods := countMethods(t, f, spec)
		all = append(all, measured{
			problem: f.at(spec, "interface %s has %d methods (at most %d)", name, methods, maxInterfaceMethods),
			size:    methods, warn: maxInterfaceMethods, fail: maxInterfaceMethods,
		})
	}
	return all
}

// interfaces returns the interface types that f declares, by name.
func interfaces(f *file) map[string]*ast.InterfaceType {
	found := map[string]*ast.InterfaceType{}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		if spec, ok := node.(*ast.TypeSpec); ok {
			if typ, ok := spec.Type.(*ast.InterfaceType); ok {
				found[spec.Name.Name] = typ
			}
		}
		return true
	})
	return found
}

func countMethods(t tree, f *file, typ *ast.InterfaceType) int {
	count := 0
	for _, field := range typ.Methods.List {
		switch embedded := field.Type.(type) {
		case *ast.FuncType:
			count += len(field.Names)
		case *ast.Ident:
			count += countEmbedded(t, f, embedded.Name)
		case *ast.SelectorExpr:
			count++
		}
	}
	return count
}

func countEmbedded(t tree, f *file, name string) int {
	for _, other := range t {
		if other.dir != f.dir {
			continue
		}
		if typ := interfaces(other)[name]; typ != nil {
			return countMethods(t, other, typ)
		}
	}
	return 0 // a type of a constraint, or one that is no interface
}
