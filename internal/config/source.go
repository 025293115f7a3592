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
	// MaxFileBytes is the largest file that is read. The worst text of this
	// size costs the YAML parser 0.4 s and 300 MB of allocations (measured).
	MaxFileBytes = 256 << 10
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
	line, column := s.place(one)
	message, hint := explain(one, s.at(line, column))
	return s.problem(line, column, hint, printable(message))
}

// explain says in plainer words what the parser says, where we know better; text
// is what is at the place. The parser has no codes for its errors, so this goes
// by their words: should those change, its own are shown.
func explain(err *yaml.LoadError, text string) (message, hint string) {
	says := func(part string) bool {
		return strings.Contains(err.ContextMsg, part) || strings.Contains(err.Message, part)
	}
	switch {
	case strings.HasPrefix(text, "\t"), says("tab character"):
		return "a tab cannot be used for indentation", "use spaces"
	case says("cannot start any token"):
		return fmt.Sprintf("a value cannot begin with %q", firstRune(text)), "put it in quotes"
	case says("mapping values are not allowed"):
		return err.Message, `check the indentation, and quote a value that contains ": "`
	case says("anchor"), says("alias"):
		return "anchors and aliases are not supported", "write the value out, or put it in quotes"
	case says("depth"):
		return fmt.Sprintf("values are nested more than %d deep", maxDepth), ""
	case says("quoted scalar") && says("end of stream"):
		return "the quote is not closed", ""
	case says("flow"):
		return err.ContextMsg + ": " + err.Message, "close each bracket, and put a comma between values"
	case err.ContextMsg != "":
		return err.ContextMsg + ": " + err.Message, ""
	}
	return err.Message, ""
}

// place says where a syntax error should be mended. An open quote or bracket is
// noticed only at the end of the file; it is mended where it begins, or where
// the text ends.
func (s source) place(err *yaml.LoadError) (line, column int) {
	line, column = err.Mark.Line, err.Mark.Column
	open := strings.Contains(err.Message, "end of stream") || strings.Contains(err.ContextMsg, "flow")
	if c := err.ContextMark; line == 0 || open && c.Line > 0 && c.Line < line {
		line, column = c.Line, c.Column
	}
	for line > 1 && strings.TrimSpace(s.line(line)) == "" {
		line--
		column = utf8.RuneCountInString(s.line(line)) + 1
	}
	return line, column
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
