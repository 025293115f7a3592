package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"moat/internal/atomicfile"
)

// ErrNotAdded says that a file is written in a way into which nothing can be put for sure.
var ErrNotAdded = errors.New("the file is written in a way into which nothing can be put safely")

// AddAllow adds a pattern to network.allow in the agent.yaml of a workspace, and returns the file's name. Comments, order and
// everything else stay as they are; without a file one is made. The file is replaced as a whole, also where it was a link, and
// not at all if the result would mean anything else than it should: ErrNotAdded.
func AddAllow(workspace, pattern string) (file string, err error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return "", fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	name, err := agentFileName(root)
	if err != nil {
		return "", err
	}
	var data []byte
	mode := fs.FileMode(0o644)
	if name == "" {
		name = AgentFile
	} else {
		if data, err = readRegular(root, name); err != nil {
			return "", err
		}
		info, err := root.Stat(name)
		if err != nil {
			return "", fmt.Errorf("read configuration: %w", err)
		}
		mode = info.Mode().Perm()
	}
	file = filepath.Join(workspace, name)
	added, err := withAllow(file, data, pattern)
	if err != nil || string(added) == string(data) {
		return file, err
	}
	return file, atomicfile.Write(root, name, added, mode)
}

// withAllow is the text of an agent.yaml with one pattern more in network.allow.
func withAllow(file string, data []byte, pattern string) ([]byte, error) {
	before, err := Parse(file, data)
	if err != nil {
		return nil, err
	}
	if slices.Contains(before.Network.Allow, pattern) {
		return data, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotAdded, file)
	}
	e := &edit{text: string(data), pattern: quoted(pattern)}
	if len(doc.Content) == 1 {
		e.document(doc.Content[0])
	} else {
		e.appendNetwork()
	}
	after, err := Parse(file, []byte(e.text))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotAdded, file)
	}
	want := *before
	want.Network.Allow = append(slices.Clone(before.Network.Allow), pattern)
	got := *after
	got.Network.Allow = slices.Sorted(slices.Values(got.Network.Allow))
	want.Network.Allow = slices.Sorted(slices.Values(want.Network.Allow))
	want.Positions, got.Positions = nil, nil
	if !reflect.DeepEqual(want, got) {
		return nil, fmt.Errorf("%w: %s", ErrNotAdded, file)
	}
	return []byte(e.text), nil
}

// quoted is a pattern as a YAML scalar.
func quoted(pattern string) string {
	if plain := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+$`); plain.MatchString(pattern) {
		return pattern
	}
	return `"` + pattern + `"` // patterns have neither quotes nor backslashes
}

// edit puts a pattern into a text. Whether that went well is found out afterwards.
type edit struct {
	text    string
	pattern string
}

// document adds to network.allow, whatever of it is there.
func (e *edit) document(top *yaml.Node) {
	_, network := lookUp(top, "network")
	if network == nil {
		e.appendNetwork()
		return
	}
	key, allow := lookUp(network, "allow")
	switch {
	case allow != nil && allow.Kind == yaml.SequenceNode && len(allow.Content) == 0:
		e.insert(e.offset(allow)+1, e.pattern) // []
	case allow != nil && allow.Kind == yaml.SequenceNode && allow.Style&yaml.FlowStyle != 0:
		e.insert(e.scalarEnd(allow.Content[len(allow.Content)-1]), ", "+e.pattern)
	case allow != nil && allow.Kind == yaml.SequenceNode:
		last := allow.Content[len(allow.Content)-1]
		dash := strings.LastIndexByte(e.text[:e.offset(last)], '-')
		e.insertLine(last.Line, e.indent(dash)+"- "+e.pattern)
	case allow != nil:
		e.insert(e.offset(key)+len("allow:"), " ["+e.pattern+"]") // it is null
	case network.Kind == yaml.MappingNode && network.Style&yaml.FlowStyle != 0:
		text := "allow: [" + e.pattern + "]"
		if len(network.Content) > 0 {
			text += ", "
		}
		e.insert(e.offset(network)+1, text)
	case network.Kind == yaml.MappingNode:
		first := network.Content[0]
		e.insertLine(first.Line-1, strings.Repeat(" ", first.Column-1)+"allow: ["+e.pattern+"]")
	default:
		key, _ := lookUp(top, "network")
		e.insert(e.offset(key)+len("network:"), " {allow: ["+e.pattern+"]}") // it is null
	}
}

// lookUp finds a key of a mapping and its value.
func lookUp(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	if mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// appendNetwork adds a section to the end.
func (e *edit) appendNetwork() {
	if e.text != "" && !strings.HasSuffix(e.text, "\n") {
		e.text += "\n"
	}
	e.text += "network:\n  allow:\n    - " + e.pattern + "\n"
}

// lineStart is the offset of a line, from 1, or the end of the text.
func (e *edit) lineStart(line int) int {
	at := 0
	for range line - 1 {
		next := strings.IndexByte(e.text[at:], '\n')
		if next < 0 {
			return len(e.text)
		}
		at += next + 1
	}
	return at
}

// offset is where a node begins.
func (e *edit) offset(n *yaml.Node) int {
	at := e.lineStart(n.Line)
	for range n.Column - 1 {
		if at < len(e.text) {
			at++
			for at < len(e.text) && e.text[at]&0xc0 == 0x80 { // within a character
				at++
			}
		}
	}
	return at
}

// scalarEnd is where a scalar ends that stands on one line.
func (e *edit) scalarEnd(n *yaml.Node) int {
	at := e.offset(n)
	if at < len(e.text) && (e.text[at] == '"' || e.text[at] == '\'') {
		if end := strings.IndexByte(e.text[at+1:], e.text[at]); end >= 0 {
			return at + 1 + end + 1
		}
	}
	return at + len(n.Value)
}

// indent is the white space in front of an offset.
func (e *edit) indent(at int) string {
	line := e.text[strings.LastIndexByte(e.text[:max(at, 0)], '\n')+1:]
	return line[:len(line)-len(strings.TrimLeft(line, " "))]
}

func (e *edit) insert(at int, text string) {
	at = min(at, len(e.text))
	e.text = e.text[:at] + text + e.text[at:]
}

// insertLine adds a line behind another one, with the same end.
func (e *edit) insertLine(after int, line string) {
	at := e.lineStart(after + 1)
	end := "\n"
	if strings.Contains(e.text, "\r\n") {
		end = "\r\n"
	}
	if at == len(e.text) && !strings.HasSuffix(e.text, "\n") {
		e.insert(at, end+line)
		return
	}
	e.insert(at, line+end)
}
