package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"moat/internal/sandbox"
)

// Text is the plan for a person: one fact a line, in an order that does not change. Whatever could confuse a
// terminal is quoted.
func (p Plan) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range p.rows() {
		fmt.Fprintf(w, "%s\t%s\n", r.label, r.value) // a strings.Builder takes everything
	}
	_ = w.Flush()
	return b.String()
}

type row struct{ label, value string }

func (p Plan) rows() []row {
	rows := []row{
		{"name", or(quote(p.Name), "(made up at the start)")},
		{"runtime", quote(p.Runtime)},
		{"image", or(quote(p.Image), "(the host's system directories)")},
		{"workspace", quote(p.Workspace) + " at /workspace"},
		{"command", or(quoteAll(p.Command), "(none)")},
		{"directory", quote(p.WorkDir)},
		{"terminal", p.terminal()},
		{"user", fmt.Sprintf("%s (uid %d, gid %d, home %s)", quote(p.User.Name), p.User.UID, p.User.GID, quote(p.User.Home))},
		{"hostname", or(quote(p.Hostname), "(the run's name)")},
		{"environment", or(quoteAll(p.EnvNames), "(nothing added)")},
	}
	for _, m := range p.Mounts {
		rows = append(rows, row{"mount", fmt.Sprintf("%s at %s%s", quote(m.Source), quote(m.Target), access(m))})
	}
	for _, t := range p.Tools {
		rows = append(rows, row{"tool", quote(t.Path) + masked(t.Mask)})
	}
	rows = append(rows, p.network()...)
	if p.AuditInput {
		rows = append(rows, row{"audit", "digests of what is typed too"})
	}
	return append(rows, row{"limits", p.limits()})
}

// network says what may leave.
func (p Plan) network() []row {
	n := p.Network
	if n == nil {
		return []row{{"network", "none"}}
	}
	rows := []row{{"network", quote(n.Policy)}}
	if len(p.Grants) > 0 {
		rows = append(rows, row{"grants", quoteAll(p.Grants)})
	}
	if n.Foreign {
		rows = append(rows, row{"foreign", "other credentials reach the hosts of grants"})
	}
	for _, list := range []struct {
		label string
		words []string
	}{{"allow", n.Allow}, {"deny", n.Deny}, {"resolvers", n.DNS}} {
		if len(list.words) > 0 {
			rows = append(rows, row{list.label, quoteAll(list.words)})
		}
	}
	for _, h := range n.Rules {
		rows = append(rows, row{"rules", quote(h.Host) + ": " + quoteAll(h.Rules)})
	}
	for _, port := range n.HostPorts {
		rows = append(rows, row{"own machine", fmt.Sprintf("port %d as host.moat.internal", port)})
	}
	for _, name := range slices.Sorted(maps.Keys(n.Hosts)) {
		rows = append(rows, row{"dialled", quote(name) + " at " + quote(n.Hosts[name])})
	}
	return rows
}

func (p Plan) terminal() string {
	switch {
	case p.TTY && p.Interactive:
		return "yes, interactive"
	case p.TTY:
		return "yes"
	case p.Stdin:
		return "no, stdin is forwarded"
	default:
		return "no"
	}
}

func (p Plan) limits() string {
	pids := p.Limits.PIDs
	if pids == 0 {
		pids = sandbox.DefaultPIDs
	}
	parts := []string{fmt.Sprintf("%d processes", pids)}
	if p.Limits.MemoryBytes > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes of memory", p.Limits.MemoryBytes))
	}
	if p.Limits.CPUs > 0 {
		parts = append(parts, strconv.FormatFloat(p.Limits.CPUs, 'f', -1, 64)+" CPUs")
	}
	return strings.Join(parts, ", ")
}

func access(m sandbox.Mount) string {
	if m.ReadOnly {
		return ", read-only"
	}
	return ""
}

func masked(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return " without " + quoteAll(paths)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" {
			quoted[i] = `""`
			continue
		}
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote leaves plain words as they are and writes everything else as a Go string.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@+,%~", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
