package house

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// An allowance lets the packages of one room use a name that belongs elsewhere.
type allowance struct {
	room, name, reason string
}

// allowances are the exceptions to the rule "edge".
func allowances() []allowance {
	return []allowance{
		{"internal/guest", "os.Environ", "the command inherits what the sandbox was made with"},
		{"internal/sandbox/native", "os.Environ", "the process re-executes itself with its own environment"},
	}
}

// edge finds printing, ending the process, and reading the environment or flags
// outside the two packages that may: internal/cli, and programs.
func edge(t tree) []problem {
	return eachSelector(t, func(f *file, name string) string {
		if f.test || f.syntax.Name.Name == "main" || within(f.dir, "internal/cli") || !edgeOnly(name) {
			return ""
		}
		for _, a := range allowances() {
			if within(f.dir, a.room) && a.name == name {
				return ""
			}
		}
		return "belongs to internal/cli and cmd/moat: take it as a value, return what should happen"
	})
}

func edgeOnly(name string) bool {
	switch name {
	case "os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "syscall.Exit", "syscall.Getenv":
		return true
	}
	return strings.HasPrefix(name, "fmt.Print") || strings.HasPrefix(name, "flag.") ||
		strings.HasPrefix(name, "log.Print") || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic")
}

// directPrints finds what "edge" cannot see: fmt.Fprint to the process's own
// output, and the built-in print.
func directPrints(t tree) []problem {
	var problems []problem
	for _, f := range t {
		if f.test || f.syntax.Name.Name == "main" || within(f.dir, "internal/cli") {
			continue
		}
		imports := f.imports()
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if ok && prints(imports, call) {
				problems = append(problems, f.at(call, "only internal/cli prints"))
			}
			return true
		})
	}
	return problems
}

func prints(imports map[string]string, call *ast.CallExpr) bool {
	if name, ok := call.Fun.(*ast.Ident); ok {
		return name.Name == "print" || name.Name == "println"
	}
	if !strings.HasPrefix(selector(imports, call.Fun), "fmt.Fprint") || len(call.Args) == 0 {
		return false
	}
	return slices.Contains([]string{"os.Stdout", "os.Stderr"}, selector(imports, call.Args[0]))
}

// contexts finds contexts made from nothing outside programs and tests. Clean-up
// that must outlive its caller takes context.WithoutCancel and a time limit.
func contexts(t tree) []problem {
	return eachSelector(t, func(f *file, name string) string {
		made := name == "context.Background" || name == "context.TODO"
		if !made || f.test || f.syntax.Name.Name == "main" {
			return ""
		}
		return "is for main and tests: take a ctx (clean-up: context.WithoutCancel and a time limit)"
	})
}

// systems finds decisions by runtime.GOOS; they belong in files per system.
func systems(t tree) []problem {
	var problems []problem
	for _, f := range t {
		if f.test {
			continue
		}
		imports := f.imports()
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			var operands []ast.Expr
			switch node := node.(type) {
			case *ast.BinaryExpr:
				if node.Op == token.EQL || node.Op == token.NEQ {
					operands = []ast.Expr{node.X, node.Y}
				}
			case *ast.SwitchStmt:
				operands = []ast.Expr{node.Tag}
			}
			for _, operand := range operands {
				if selector(imports, operand) == "runtime.GOOS" {
					problems = append(problems, f.at(operand, "differences between operating systems are files (name_linux.go), not conditions"))
				}
			}
			return true
		})
	}
	return problems
}

// sleeps finds time.Sleep, in tests too, that no comment `// sleep: why` on its
// line or the line before explains. Waiting for something is a message's job.
func sleeps(t tree) []problem {
	explained := map[*file][]int{}
	for _, f := range t {
		for _, group := range f.syntax.Comments {
			for _, comment := range group.List {
				if why, ok := strings.CutPrefix(comment.Text, "// sleep: "); ok && why != "" {
					explained[f] = append(explained[f], f.line(comment.Pos()), f.line(group.End())+1)
				}
			}
		}
	}
	var problems []problem
	eachNode(t, func(f *file, node ast.Node, name string) {
		if name == "time.Sleep" && !slices.Contains(explained[f], f.line(node.Pos())) {
			problems = append(problems, f.at(node, "readiness is a message, not a delay (or explain it: // sleep: why)"))
		}
	})
	return problems
}

// inits finds init functions: implementations are listed, not registered.
func inits(t tree) []problem {
	var problems []problem
	for _, f := range t {
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				problems = append(problems, f.at(fn, "no init functions: list what there is in one function that main calls"))
			}
		}
	}
	return problems
}

// names finds packages that are named after nothing.
func names(t tree) []problem {
	empty := []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "shared"}
	var problems []problem
	for _, files := range t.packages() {
		if base := path.Base(files[0].dir); slices.Contains(empty, base) {
			problems = append(problems, problem{files[0].dir, "says nothing about what it holds: name it after that"})
		}
	}
	return problems
}

// eachSelector asks check about every name that is used from another package,
// such as "os.Exit", and reports what check objects to.
func eachSelector(t tree, check func(f *file, name string) string) []problem {
	var problems []problem
	eachNode(t, func(f *file, node ast.Node, name string) {
		if objection := check(f, name); objection != "" {
			problems = append(problems, f.at(node, "%s %s", name, objection))
		}
	})
	return problems
}

// eachNode visits every use of a name from another package.
func eachNode(t tree, visit func(f *file, node ast.Node, name string)) {
	for _, f := range t {
		imports := f.imports()
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			if name := selector(imports, node); name != "" {
				visit(f, node, name)
			}
			return true
		})
	}
}
