package house

import (
	"path"
	"slices"
	"strings"
)

// A room is a package, with the packages below it, and the floor it stands on.
type room struct {
	path     string
	floor    int
	testOnly bool // nothing may import it; it may import anything
}

// rooms is the house. Imports go to a lower floor only.
func rooms() []room {
	return []room{
		{path: "cmd/moat", floor: 5},

		{path: "internal/cli", floor: 4},
		{path: "internal/supervisor", floor: 4},

		{path: "internal/api", floor: 3},
		{path: "internal/run", floor: 3},

		{path: "internal/egress", floor: 2},
		{path: "internal/plan", floor: 2},
		{path: "internal/session", floor: 2},

		{path: "internal/approval", floor: 1},
		{path: "internal/config", floor: 1},
		{path: "internal/grant", floor: 1},
		{path: "internal/guest", floor: 1},
		{path: "internal/image", floor: 1},
		{path: "internal/journal", floor: 1},
		{path: "internal/line", floor: 1},
		{path: "internal/router", floor: 1},
		{path: "internal/sandbox", floor: 1},

		{path: "internal/atomicfile", floor: 0},
		{path: "internal/audit", floor: 0},
		{path: "internal/ca", floor: 0},
		{path: "internal/frame", floor: 0},
		{path: "internal/mux", floor: 0},
		{path: "internal/policy", floor: 0},
		{path: "internal/secret", floor: 0},
		{path: "internal/sock", floor: 0},
		{path: "internal/term", floor: 0},
		{path: "internal/vt", floor: 0},

		{path: "internal/bench", testOnly: true},
		{path: "internal/house", testOnly: true},
		{path: "internal/screens", testOnly: true},
		{path: "internal/soak", testOnly: true},
	}
}

// neighbours lists the imports inside one floor that are right all the same.
func neighbours() map[[2]string]string {
	return map[[2]string]string{
		{"internal/mux", "internal/frame"}:         "streams are carried in frames",
		{"internal/guest", "internal/line"}:        "the guest is one of the two ends that share the line's protocol",
		{"internal/grant", "internal/config"}:      "a person's own providers are files, which the strict parser reads",
		{"internal/secret", "internal/atomicfile"}: "sealed files are replaced whole",
	}
}

// roomOf returns the room that the package belongs to, or a room without a path.
func roomOf(pkg string) room {
	for _, r := range rooms() {
		if within(pkg, r.path) {
			return r
		}
	}
	return room{}
}

// within reports whether pkg is folder or below it.
func within(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

// placed finds packages that no room holds, and folders that are too deep.
func placed(t tree) []problem {
	var problems []problem
	for _, files := range t.packages() {
		dir := files[0].dir
		if roomOf(dir).path == "" {
			problems = append(problems, problem{dir, "has no floor: it must be placed in the table of internal/house/imports_test.go (and in ARCHITECTURE.md)"})
		}
		if strings.Count(dir, "/") > 2 {
			problems = append(problems, problem{dir, "lies more than three folders deep"})
		}
	}
	return problems
}

// downward finds imports that do not go to a lower floor or into the importer's
// own room. Test code may also import from its own floor.
func downward(t tree) []problem {
	return eachImport(t, func(f *file, target string) string {
		from, to := roomOf(f.dir), roomOf(target)
		switch {
		case from.path == "" || to.path == "" || from.path == to.path:
			return "" // the rule "placed" reports rooms that are missing
		case to.testOnly:
			return "is for tests only; nothing imports it"
		case from.testOnly || to.floor < from.floor:
			return ""
		case to.floor == from.floor && (f.test || neighbours()[[2]string{from.path, to.path}] != ""):
			return ""
		}
		return "is not on a lower floor: imports go downward only"
	})
}

// strangers finds imports between the three rooms that only the supervisor joins.
func strangers(t tree) []problem {
	apart := []string{"internal/egress", "internal/session", "internal/sandbox"}
	return eachImport(t, func(f *file, target string) string {
		from, to := roomOf(f.dir).path, roomOf(target).path
		if from != to && slices.Contains(apart, from) && slices.Contains(apart, to) {
			return "is a stranger to " + from + ": the supervisor joins them"
		}
		return ""
	})
}

// concrete finds imports of a concrete runtime outside the one list of runtimes
// and the entry of the guest, which is that runtime's first process inside.
func concrete(t tree) []problem {
	runtimes := []string{"internal/sandbox/native", "internal/sandbox/docker", "internal/sandbox/apple"}
	return eachImport(t, func(f *file, target string) string {
		i := slices.IndexFunc(runtimes, func(r string) bool { return within(target, r) })
		if i < 0 || f.test || within(f.dir, runtimes[i]) {
			return ""
		}
		for _, pattern := range []string{"internal/supervisor/runtimes*.go", "cmd/moat/*_linux.go"} {
			if ok, _ := path.Match(pattern, f.path); ok {
				return ""
			}
		}
		return "is a concrete runtime: only internal/supervisor/runtimes*.go names those (and cmd/moat joins them with the rest)"
	})
}

// eachImport asks check about every import of a package of this module, given by
// its path inside the module, and reports what check objects to.
func eachImport(t tree, check func(f *file, target string) string) []problem {
	var problems []problem
	for _, f := range t {
		for _, spec := range f.syntax.Imports {
			target, own := strings.CutPrefix(importPath(spec), module+"/")
			if !own {
				continue
			}
			if objection := check(f, target); objection != "" {
				problems = append(problems, f.at(spec, "%s %s", target, objection))
			}
		}
	}
	return problems
}
