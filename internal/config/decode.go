package config

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"moat/internal/policy"
)

// maxArg is the longest argument, or name and value of a variable, that Linux
// passes to a program: MAX_ARG_STRLEN less its NUL, see execve(2).
const maxArg = 128<<10 - 1

// item is one value of the file and its path, such as "limits.memory".
type item struct {
	node *yaml.Node
	path string
}

// entry is the value of a key.
func (it item) entry(key string, value *yaml.Node) item {
	if it.path != "" {
		key = it.path + "." + key
	}
	return item{node: value, path: key}
}

// element is the i-th value of a list.
func (it item) element(i int) item {
	return item{node: it.node.Content[i], path: fmt.Sprintf("%s[%d]", it.path, i)}
}

// name is the path for use in a message.
func (it item) name() string {
	if it.path == "" {
		return "the file"
	}
	return it.path
}

// decoder walks one file and collects everything that is wrong with it.
type decoder struct {
	file      string
	source    source
	positions Positions
	problems  []Problem
	dropped   int // problems beyond maxProblems
}

func newDecoder(file string, data []byte, positions Positions) *decoder {
	d := &decoder{file: file, positions: positions}
	if len(data) > MaxFileBytes {
		d.problems = []Problem{{Message: fmt.Sprintf("the file is larger than %d bytes", MaxFileBytes)}}
		return d
	}
	d.source = newSource(data)
	return d
}

// decode reads the whole file into out.
func decode[T any](d *decoder, s schema[T], out *T) {
	d.add(d.source.characters()...)
	if len(d.problems) > 0 {
		return // the parser would stumble over the same places
	}
	root, problems := d.source.tree()
	d.add(problems...)
	if root != nil {
		readMapping(d, s, item{node: root}, out)
	}
}

// err returns the report, or nil if the file is good.
func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if d.dropped > 0 {
		d.problems = append(d.problems, Problem{Message: fmt.Sprintf("%d more problems", d.dropped)})
	}
	return &Error{File: d.file, Problems: d.problems}
}

func (d *decoder) add(problems ...Problem) {
	for _, p := range problems {
		if d.full() {
			d.dropped++
			continue
		}
		d.problems = append(d.problems, p)
	}
}

// full reports whether further problems are only counted.
func (d *decoder) full() bool { return len(d.problems) == maxProblems }

// count is how many problems there are so far.
func (d *decoder) count() int { return len(d.problems) + d.dropped }

// fail reports a problem at a node.
func (d *decoder) fail(n *yaml.Node, hint, format string, args ...any) {
	d.add(d.source.problem(n.Line, n.Column, hint, fmt.Sprintf(format, args...)))
}

// failErr reports what a parser of single values says about a node.
func (d *decoder) failErr(at item, err error) {
	message, hint := err.Error(), ""
	if bad, ok := errors.AsType[*valueError](err); ok {
		message, hint = bad.message, bad.hint
	} else if bad, ok := errors.AsType[*policy.SyntaxError](err); ok {
		d.failWithin(at, bad.At, bad.Hint, shorten(bad.Input)+" "+bad.Message)
		return
	}
	d.fail(at.node, hint, "%s: %s", at.path, message)
}

// plain reports the parts of YAML that these files do not need: anchors, aliases
// and tags. Without them a file cannot be larger than it looks. It returns
// whether the node has a value of its own to go on with.
func (d *decoder) plain(n *yaml.Node) bool {
	const unsupported = "anchors and aliases are not supported"
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, "write the value out, or put it in quotes", unsupported)
		return false
	case n.Anchor != "":
		d.fail(n, "remove "+shorten("&"+n.Anchor)+", or put the value in quotes", unsupported)
	case n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str":
		d.fail(n, "remove it", "tag %s is not supported", shorten(n.Tag))
	}
	return true
}

// mismatch reports a value of another kind than the key wants.
func (d *decoder) mismatch(at item, hint, want string) {
	if at.node.Kind == yaml.ScalarNode && at.node.Tag == "!!null" {
		d.fail(at.node, "remove the key or give it a value", "%s must be %s, and has no value", at.name(), want)
		return
	}
	d.fail(at.node, hint, "%s must be %s, not %s", at.name(), want, describe(at.node))
}

// schema is the list of keys that one mapping may have.
type schema[T any] struct {
	fields []field[T]
	// later are keys that this version does not support yet.
	later []string
	// elsewhere says where a key belongs that is known but not here. May be
	// nil.
	elsewhere func(key string) string
}

type field[T any] struct {
	key  string
	read func(d *decoder, at item, out *T)
}

func (s schema[T]) keys() []string {
	keys := make([]string, len(s.fields))
	for i, f := range s.fields {
		keys[i] = f.key
	}
	return keys
}

// readMapping reads a mapping by its schema into out.
func readMapping[T any](d *decoder, s schema[T], at item, out *T) {
	for key, value := range d.pairs(at) {
		i := slices.IndexFunc(s.fields, func(f field[T]) bool { return f.key == key.Value })
		switch {
		case i >= 0:
			s.fields[i].read(d, value, out)
		case d.full():
			d.dropped++ // without the work of looking for a suggestion
		default:
			d.add(s.unknown(d, key, at.path))
		}
	}
}

// unknown says what is wrong with a key that the schema does not have.
func (s schema[T]) unknown(d *decoder, key *yaml.Node, path string) Problem {
	problem := func(hint, message string) Problem {
		return d.source.problem(key.Line, key.Column, hint, message)
	}
	const notYet = "this version of moat does not support it yet"
	name := key.Value
	if slices.Contains(s.later, name) {
		return problem("remove the key", fmt.Sprintf("%s: %s", name, notYet))
	}
	message := fmt.Sprintf("unknown key %s", shorten(name))
	if path != "" {
		message += " in " + path
	}
	if s.elsewhere != nil {
		if where := s.elsewhere(name); where != "" {
			return problem(where, message)
		}
	}
	near := closest(name, slices.Concat(s.keys(), s.later))
	switch {
	case near == "":
		return problem("known are "+strings.Join(s.keys(), ", "), message)
	case slices.Contains(s.later, near):
		return problem(fmt.Sprintf("did you mean %q? But %s", near, notYet), message)
	}
	return problem(fmt.Sprintf("did you mean %q?", near), message)
}

// pairs yields the keys of a mapping, each once, and their values, and records
// where they are. What is not a mapping, and keys that are not text or there
// twice, are reported.
func (d *decoder) pairs(at item) iter.Seq2[*yaml.Node, item] {
	return func(yield func(*yaml.Node, item) bool) {
		if !d.plain(at.node) {
			return
		}
		if at.node.Kind != yaml.MappingNode {
			d.mismatch(at, "", "a mapping of keys to values")
			return
		}
		seen := map[string]int{}
		for i := 0; i+1 < len(at.node.Content); i += 2 {
			key := at.node.Content[i]
			if !d.goodKey(key) {
				continue
			}
			if line, twice := seen[key.Value]; twice {
				d.fail(key, "keep one of them", "key %s is given twice, first on line %d", shorten(key.Value), line)
				continue
			}
			seen[key.Value] = key.Line
			value := at.entry(key.Value, at.node.Content[i+1])
			d.note(value)
			if !yield(key, value) {
				return
			}
		}
	}
}

func (d *decoder) goodKey(key *yaml.Node) bool {
	switch {
	case !d.plain(key):
	case key.Kind != yaml.ScalarNode:
		d.fail(key, "", "a key must be a word, not %s", describe(key))
	case key.Tag == "!!merge":
		d.fail(key, "write the keys out", "merge keys are not supported")
	default:
		return true
	}
	return false
}

// note records where a value is.
func (d *decoder) note(at item) {
	d.positions[at.path] = Position{File: d.file, Line: at.node.Line, Column: at.node.Column}
}

// elements yields the elements of a list and records where they are. What is not
// a list is reported with the hint.
func (d *decoder) elements(at item, hint string) iter.Seq[item] {
	return func(yield func(item) bool) {
		if !d.plain(at.node) {
			return
		}
		if at.node.Kind != yaml.SequenceNode {
			d.mismatch(at, hint, "a list")
			return
		}
		for i := range at.node.Content {
			element := at.element(i)
			d.note(element)
			if !yield(element) {
				return
			}
		}
	}
}

// text returns a scalar as it is written: a number keeps its digits, true stays
// "true".
func (d *decoder) text(at item) (string, bool) {
	n := at.node
	switch {
	case !d.plain(n):
	case n.Kind != yaml.ScalarNode:
		d.fail(n, "", "%s must be text, not %s", at.path, describe(n))
	case n.Tag == "!!null":
		d.fail(n, `remove it, or write "" for an empty text`, "%s has no value", at.path)
	case strings.ContainsRune(n.Value, 0):
		d.fail(n, "", "%s contains a NUL character", at.path)
	case len(n.Value) > maxArg:
		d.fail(n, "", "%s is longer than %d bytes", at.path, maxArg)
	default:
		return n.Value, true
	}
	return "", false
}

// word is text for keys where true or no is more likely a mistake than a word.
// Which words are booleans differs between versions of YAML, so all of them must
// be quoted.
func (d *decoder) word(at item) (string, bool) {
	if at.node.Kind != yaml.ScalarNode || at.node.Tag == "!!null" {
		if d.plain(at.node) {
			d.mismatch(at, "", "text")
		}
		return "", false
	}
	value, ok := d.text(at)
	if !ok {
		return "", false
	}
	if at.node.Style == 0 && slices.Contains([]string{"true", "false", "yes", "no", "on", "off"}, strings.ToLower(value)) {
		d.fail(at.node, fmt.Sprintf("if it is meant as text, quote it: %q", value),
			"%s: %s can be read as a boolean", at.path, value)
		return "", false
	}
	if value == "" {
		d.fail(at.node, "remove the key or give it a value", "%s is empty", at.path)
		return "", false
	}
	return value, true
}

// boolean accepts true and false only.
func (d *decoder) boolean(at item) bool {
	if !d.plain(at.node) {
		return false
	}
	n := at.node
	if n.Kind == yaml.ScalarNode && n.Style == 0 {
		switch strings.ToLower(n.Value) {
		case "true":
			return true
		case "false":
			return false
		case "yes", "on":
			d.fail(n, "write true", "%s must be true or false, not %s", at.path, n.Value)
			return false
		case "no", "off":
			d.fail(n, "write false", "%s must be true or false, not %s", at.path, n.Value)
			return false
		}
	}
	d.mismatch(at, "", "true or false")
	return false
}

// describe names what a node is, for "must be X, not Y".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return shorten(n.Value)
}

// shorten quotes a piece of the file for a message.
func shorten(text string) string {
	const limit = 60
	if runes := []rune(text); len(runes) > limit {
		return strconv.Quote(string(runes[:limit])) + "…"
	}
	return strconv.Quote(text)
}
