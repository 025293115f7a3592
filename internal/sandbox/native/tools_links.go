package native

import (
	"slices"
	"strings"

	"moat/internal/sandbox"
)

// Link is a link of the host that tools' own files rely on.
type Link struct {
	Path   string // absolute
	Target string // the link's text
}

// ToolLinks returns the links, outside all that is visible, on the way to the visible tools: where /home is a link to
// /var/home, say, a script in a tool home begins with "#!/home/…", and without the link it cannot start. A runtime
// makes them inside where their place is free. Sorted by path.
func ToolLinks(host Host, want Wanted, tools []sandbox.Tool) []Link {
	g := newGround(host, want)
	ways := append([]string{host.Home()}, g.pathEntries()...)
	for _, l := range layouts() {
		for _, key := range l.env {
			ways = append(ways, host.Getenv(key))
		}
	}
	var out []Link
	for _, way := range ways {
		if foreign(way) != "" {
			continue
		}
		var met []Link
		end, err := g.walk(way, func(path string, n node) {
			if !system(path) && !inTools(tools, path) && !g.inWorkspace(path) {
				met = append(met, Link{path, n.target})
			}
		})
		if err == nil && leadsTo(end, tools) {
			out = append(out, met...)
		}
	}
	slices.SortFunc(out, func(a, b Link) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(out)
}

// leadsTo tells whether a resolved path is in a tool or above one.
func leadsTo(path string, tools []sandbox.Tool) bool {
	return slices.ContainsFunc(tools, func(t sandbox.Tool) bool {
		return under(t.Path, path) || under(path, t.Path)
	})
}
