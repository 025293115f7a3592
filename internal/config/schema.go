package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// laterKeys is the one table of keys that are planned and that this version does
// not know how to honour. A key moves from here into a schema.
func laterKeys(file string) []string {
	if file == GlobalFile {
		return []string{"proxy"}
	}
	return []string{"claude", "dependencies", "hooks", "ports", "secrets"}
}

func agentSchema() schema[Agent] {
	return schema[Agent]{
		later:     laterKeys(AgentFile),
		elsewhere: elsewhereThanAgent,
		fields: []field[Agent]{
			{"name", func(d *decoder, at item, a *Agent) { a.Name = d.name(at) }},
			{"version", func(d *decoder, at item, a *Agent) { a.Version = d.label(at) }},
			{"agent", func(d *decoder, at item, a *Agent) { a.Agent = d.label(at) }},
			{"command", func(d *decoder, at item, a *Agent) { a.Command = d.command(at) }},
			{"interactive", func(d *decoder, at item, a *Agent) { a.Interactive = d.boolean(at) }},
			{"env", func(d *decoder, at item, a *Agent) { a.Env = d.env(at) }},
			{"mounts", func(d *decoder, at item, a *Agent) { a.Mounts = d.mounts(at) }},
			{"tools", func(d *decoder, at item, a *Agent) { a.Tools = d.tools(at) }},
			{"runtime", func(d *decoder, at item, a *Agent) { a.Runtime = d.runtime(at) }},
			{"image", func(d *decoder, at item, a *Agent) { readValue(d, at, ParseImage, &a.Image) }},
			{"workdir", func(d *decoder, at item, a *Agent) { readValue(d, at, ParseWorkDir, &a.WorkDir) }},
			{"limits", func(d *decoder, at item, a *Agent) { readMapping(d, limitsSchema(), at, &a.Limits) }},
			{"network", func(d *decoder, at item, a *Agent) { a.Network = d.network(at, networkSchema()) }},
			{"grants", func(d *decoder, at item, a *Agent) { a.Grants = d.grants(at) }},
			{"audit", func(d *decoder, at item, a *Agent) { readMapping(d, auditSchema(), at, &a.Audit) }},
		},
	}
}

func globalSchema() schema[Global] {
	return schema[Global]{
		later:     laterKeys(GlobalFile),
		elsewhere: elsewhereThanGlobal,
		fields: []field[Global]{
			{"detach", func(d *decoder, at item, g *Global) { readMapping(d, detachSchema(), at, &g.Detach) }},
			{"runtime", func(d *decoder, at item, g *Global) { g.Runtime = d.runtime(at) }},
			{"limits", func(d *decoder, at item, g *Global) { readMapping(d, limitsSchema(), at, &g.Limits) }},
			{"network", func(d *decoder, at item, g *Global) { g.Policy = d.network(at, globalNetworkSchema()).Policy }},
			{"egress", func(d *decoder, at item, g *Global) { readMapping(d, egressSchema(), at, &g.Egress) }},
			{"terminal", func(d *decoder, at item, g *Global) { readMapping(d, terminalSchema(), at, &g.Terminal) }},
			{"audit", func(d *decoder, at item, g *Global) { readMapping(d, auditSchema(), at, &g.Audit) }},
		},
	}
}

func detachSchema() schema[Detach] {
	return schema[Detach]{fields: []field[Detach]{
		{"keys", func(d *decoder, at item, out *Detach) { readValue(d, at, ParseKeys, &out.Keys) }},
		{"stop_window", func(d *decoder, at item, out *Detach) { readValue(d, at, ParseStopWindow, &out.StopWindow) }},
	}}
}

func terminalSchema() schema[Terminal] {
	return schema[Terminal]{fields: []field[Terminal]{
		{"allow", func(d *decoder, at item, out *Terminal) { out.Allow = d.terminalRights(at) }},
		{"size", func(d *decoder, at item, out *Terminal) { readValue(d, at, parseTerminalSize, &out.Smallest) }},
	}}
}

func auditSchema() schema[Audit] {
	return schema[Audit]{fields: []field[Audit]{
		{"input", func(d *decoder, at item, out *Audit) { out.Input = d.boolean(at) }},
	}}
}

func limitsSchema() schema[Limits] {
	return schema[Limits]{fields: []field[Limits]{
		{"memory", func(d *decoder, at item, l *Limits) { readValue(d, at, parseMemory, &l.Memory) }},
		{"cpus", func(d *decoder, at item, l *Limits) { readValue(d, at, parseCPUs, &l.MilliCPUs) }},
		{"pids", func(d *decoder, at item, l *Limits) { readValue(d, at, parsePIDs, &l.PIDs) }},
	}}
}

func mountSchema() schema[Mount] {
	return schema[Mount]{fields: []field[Mount]{
		{"source", func(d *decoder, at item, m *Mount) { m.Source, _ = d.text(at) }},
		{"target", func(d *decoder, at item, m *Mount) { m.Target, _ = d.text(at) }},
		{"readonly", func(d *decoder, at item, m *Mount) { m.ReadOnly = d.boolean(at) }},
	}}
}

func elsewhereThanAgent(key string) string {
	switch {
	case slices.Contains(limitsSchema().keys(), key):
		return "write it in limits"
	case key == "policy" || key == "allow" || key == "deny" || key == "rules":
		return "write it in network"
	case key == "detach" || key == "egress" || key == "terminal":
		return "it belongs in " + GlobalFile + " of moat's home"
	}
	return ""
}

func elsewhereThanGlobal(key string) string {
	switch {
	case slices.Contains(limitsSchema().keys(), key):
		return "write it in limits"
	case slices.Contains(detachSchema().keys(), key):
		return "write it in detach"
	case slices.Contains(egressSchema().keys(), key):
		return "write it in egress"
	case slices.Contains(terminalSchema().keys(), key):
		return "write it in terminal"
	case slices.Contains(agentSchema().keys(), key):
		return "it belongs in the " + AgentFile + " of a workspace"
	}
	return ""
}

// readValue reads a scalar by a parser of single values. Where the text is bad,
// out keeps its value.
func readValue[T any](d *decoder, at item, parse func(string) (T, error), out *T) {
	text, ok := d.word(at)
	if !ok {
		return
	}
	value, err := parse(text)
	if err != nil {
		d.failErr(at, err)
		return
	}
	*out = value
}

func (d *decoder) name(at item) string {
	name, ok := d.word(at)
	if !ok {
		return ""
	}
	if err := CheckName(name); err != nil {
		d.failErr(at, err)
	}
	return name
}

// label reads a short text of one line that moat shows and does not interpret.
func (d *decoder) label(at item) string {
	const limit = 128
	text, ok := d.word(at)
	switch {
	case !ok:
	case len(text) > limit:
		d.fail(at.node, "", "%s is longer than %d bytes", at.path, limit)
	case strings.ContainsFunc(text, unprintable):
		d.fail(at.node, "", "%s contains a character that cannot be shown: %s", at.path, shorten(text))
	}
	return text
}

func (d *decoder) command(at item) []string {
	command := []string{}
	for element := range d.elements(at, commandHint(at.node)) {
		word, ok := d.text(element)
		if ok && word == "" && len(command) == 0 {
			d.fail(element.node, "write the program to run", "command[0] cannot be empty")
		}
		command = append(command, word)
	}
	if at.node.Kind == yaml.SequenceNode && len(at.node.Content) == 0 {
		d.fail(at.node, "write the program to run, or remove the key", "command is empty")
	}
	return command
}

// commandHint shows how to write a command that was given as one text.
func commandHint(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || strings.TrimSpace(n.Value) == "" || len(n.Value) > 60 {
		return `write a list, such as ["npm", "start"]`
	}
	words := strings.Fields(n.Value)
	if strings.ContainsAny(n.Value, "|&;<>()$`\\\"'*?[]#~=%{}!\n") {
		words = []string{"sh", "-c", n.Value}
	}
	for i, w := range words {
		words[i] = shorten(w)
	}
	return "write [" + strings.Join(words, ", ") + "]"
}

func (d *decoder) env(at item) []Var {
	if at.node.Kind == yaml.SequenceNode {
		d.mismatch(at, "write NAME: value, without -", "a mapping of names to values")
		return nil
	}
	var vars []Var
	for key, value := range d.pairs(at) {
		if err := checkEnvName(key.Value); err != nil {
			d.failErr(item{node: key, path: at.path}, err)
			continue
		}
		text, ok := d.text(value)
		if !ok {
			continue
		}
		if len(key.Value)+1+len(text) > maxArg {
			d.fail(value.node, "", "%s is longer than %d bytes", value.path, maxArg)
		}
		vars = append(vars, Var{Name: key.Value, Value: text})
	}
	return vars
}

func (d *decoder) mounts(at item) []Mount {
	var mounts []Mount
	lines := map[string]int{}
	for element := range d.elements(at, "write each mount as - source:target") {
		m, ok := d.mount(element)
		if !ok {
			continue
		}
		if line, twice := lines[m.Target]; twice {
			d.fail(element.node, "keep one of them", "%s: the target %s is used twice, first on line %d", element.path, shorten(m.Target), line)
			continue
		}
		lines[m.Target] = element.node.Line
		mounts = append(mounts, m)
	}
	return mounts
}

// mount reads one mount in either of its forms.
func (d *decoder) mount(at item) (m Mount, ok bool) {
	before := d.count()
	if at.node.Kind == yaml.MappingNode {
		readMapping(d, mountSchema(), at, &m)
		if d.count() == before {
			if err := m.check(); err != nil {
				d.failErr(at, err)
			}
		}
	} else {
		readValue(d, at, ParseMount, &m)
	}
	return m, d.count() == before
}

func (d *decoder) tools(at item) Tools {
	if at.node.Kind == yaml.ScalarNode && at.node.Value == "none" {
		return Tools{None: d.plain(at.node)}
	}
	var tools Tools
	seen := map[string]bool{}
	for element := range d.elements(at, "write a list of paths, or none") {
		tool, ok := d.text(element)
		if !ok {
			continue
		}
		if err := checkTool(tool); err != nil {
			d.failErr(element, err)
			continue
		}
		tool = cleanTool(tool)
		if seen[tool] {
			d.fail(element.node, "keep one of them", "%s: %s is listed twice", element.path, shorten(tool))
			continue
		}
		seen[tool] = true
		tools.Paths = append(tools.Paths, tool)
	}
	return tools
}

// runtime reads the word; its older meaning, a mapping of languages to versions,
// gets an answer of its own.
func (d *decoder) runtime(at item) string {
	if at.node.Kind != yaml.MappingNode {
		name := ""
		readValue(d, at, ParseRuntime, &name)
		return name
	}
	version := regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,30}$`)
	languages := []string{"node", "python", "go"}
	var wanted []string
	for i := 0; i+1 < len(at.node.Content) && len(wanted) < len(languages); i += 2 {
		key, value := at.node.Content[i].Value, at.node.Content[i+1].Value
		if slices.Contains(languages, key) && version.MatchString(value) {
			wanted = append(wanted, key+"@"+value)
		}
	}
	if len(wanted) == 0 {
		wanted = []string{"node@20"}
	}
	d.fail(at.node, "runtime is now one of native, docker, apple",
		"the mapping form of runtime is no longer supported: dependencies: [%s] takes its place, which this version of moat does not support yet",
		strings.Join(wanted, ", "))
	return ""
}

// cleanTool removes what is not needed to name the path.
func cleanTool(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return strings.TrimSuffix("~"+path.Clean("/"+rest), "/")
	}
	return path.Clean(p)
}

// checkTool refuses paths that cannot be a tool's folder.
func checkTool(tool string) error {
	if err := checkHostPath("path", tool); err != nil {
		return err
	}
	clean := cleanTool(tool)
	switch {
	case tool[0] != '/' && tool[0] != '~':
		return badValue(fmt.Sprintf("write an absolute path or one that begins with %q", "~/"),
			"%s is relative, and the workspace is visible anyway", shorten(tool))
	case clean == "/" || clean == "~":
		return badValue("name the folder of the tool", "%s would show everything in it", shorten(tool))
	case inKernelFolder(clean) != "":
		return badValue("remove it", "%s is in %s, which the sandbox makes itself", shorten(tool), inKernelFolder(clean))
	}
	return nil
}
