package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// MaxFileBytes is the largest file that is read.
	MaxFileBytes = 1 << 20
	// maxDepth is the deepest nesting; the files need four levels.
	maxDepth = 32
)

// source is the text of a file, cut into lines for messages.
type source struct {
	text  []byte
	lines []string // without line ends
}

func newSource(data []byte) source {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return source{text: data, lines: lines}
}

// line returns a line by its number, or an empty string if there is none.
func (s source) line(number int) string {
	if number < 1 || number > len(s.lines) {
		return ""
	}
	return s.lines[number-1]
}

// problem makes a Problem at a place.
func (s source) problem(line, column int, hint, message string) Problem {
	return Problem{Line: line, Column: column, Message: message, Hint: hint, Source: s.line(line)}
}

// characters reports what must not be in the text at all, at most once a line.
// Beyond it, lines end only where a person sees them end, and the text reads as
// it is shown.
func (s source) characters() []Problem {
	if bytes.HasPrefix(s.text, []byte("\xff\xfe")) || bytes.HasPrefix(s.text, []byte("\xfe\xff")) {
		return []Problem{{Message: "the file is UTF-16", Hint: "save it as UTF-8"}}
	}
	var problems []Problem
	for i, line := range s.lines {
		column := 0
		for rest := line; rest != ""; {
			r, size := utf8.DecodeRuneInString(rest)
			column++
			if what, hint := forbidden(r, size, rest[0]); what != "" {
				problems = append(problems, s.problem(i+1, column, hint, what))
				break
			}
			rest = rest[size:]
		}
	}
	return problems
}

// forbidden says what is wrong with a character that no file may contain. The
// direction controls are refused because they make a text read differently from
// what it says (CVE-2021-42574); the line ends because YAML counts them and
// people do not see them.
func forbidden(r rune, size int, first byte) (what, hint string) {
	const escape = "write it as an escape in double quotes"
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("byte 0x%02x is not UTF-8", first), "save the file as UTF-8"
	case r == '\r':
		return "carriage return inside a line", "end lines with a line feed"
	case r < 0x20 && r != '\t', r >= 0x7f && r < 0xa0:
		return fmt.Sprintf("control character %U", r), escape
	case r == 0x2028 || r == 0x2029:
		return fmt.Sprintf("invisible line end %U", r), escape
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
		return fmt.Sprintf("invisible control character %U", r), escape
	}
	return "", ""
}

// tree parses the text. The node is nil if the text has no value in it. Nothing
// is expanded: an alias stays an alias.
func (s source) tree() (*yaml.Node, []Problem) {
	limits := loaderlimits.New(loaderlimits.DepthValue(maxDepth))
	loader, err := yaml.NewLoader(bytes.NewReader(s.text), yaml.WithPlugin(limits))
	if err != nil {
		return nil, []Problem{{Message: err.Error()}}
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, []Problem{s.syntax(err)}
	}
	if err := loader.Load(&second); err == nil {
		return nil, []Problem{s.problem(second.Line, second.Column,
			"remove the second one", "the file has more than one document")}
	} else if !errors.Is(err, io.EOF) {
		return nil, []Problem{s.syntax(err)}
	}
	if len(first.Content) == 0 || first.Content[0].Kind == yaml.ScalarNode && first.Content[0].Tag == "!!null" {
		return nil, nil
	}
	return first.Content[0], nil
}

// syntax makes a Problem of the error of the YAML parser.
func (s source) syntax(err error) Problem {
	var one *yaml.LoadError
	if !errors.As(err, &one) {
		return Problem{Message: fmt.Sprintf("%q", err.Error())}
	}
	line, column := one.Mark.Line, one.Mark.Column
	message := one.Message
	if one.ContextMsg != "" && one.ContextMsg != "while scanning for the next token" {
		message = one.ContextMsg + ": " + message
	}
	if c := one.ContextMark; c.Line > 0 && (c.Line < line || line == 0) {
		// An open quote or bracket is mended where it begins, not at the
		// end of the file where it is noticed.
		line, column = c.Line, c.Column
	}
	hint := ""
	switch text := s.at(line, column); {
	case strings.HasPrefix(text, "\t"):
		message, hint = "a tab cannot be used for indentation", "use spaces"
	case strings.Contains(one.Message, "cannot start any token"):
		message, hint = fmt.Sprintf("a value cannot begin with %q", firstRune(text)), "put it in quotes"
	case strings.Contains(one.Message, "mapping values are not allowed"):
		hint = `check the indentation, and quote a value that contains ": "`
	case strings.Contains(one.Message, "unknown anchor"):
		message, hint = "anchors and aliases are not supported", "write the value out, or put it in quotes"
	case strings.Contains(one.Message, "depth"):
		message = fmt.Sprintf("values are nested more than %d deep", maxDepth)
	}
	return s.problem(line, column, hint, printable(message))
}

// at returns the text of a line from a column on.
func (s source) at(line, column int) string {
	text := s.line(line)
	for ; column > 1 && text != ""; column-- {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}

func firstRune(text string) string {
	_, size := utf8.DecodeRuneInString(text)
	return text[:size]
}

// printable makes the text of another package, which may repeat the file's, safe
// for a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '\ufffd'
		}
		return r
	}, text)
}
