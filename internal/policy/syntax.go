package policy

import "strconv"

// SyntaxError says why a host, a pattern, a rule or a path is refused, and where in it. Its text is safe for a
// terminal: what was given is quoted.
type SyntaxError struct {
	// What is "host", "pattern", "rule" or "path".
	What string
	// Input is the text as it was given.
	Input string
	// At is the offset in bytes of the part of Input that is wrong; len(Input) if something is missing at its end.
	At int
	// Message says what is wrong.
	Message string
	// Hint says what to write instead. It may be empty.
	Hint string
}

// maxQuoted bounds what a message repeats of a text that a stranger may have sent.
const maxQuoted = 80

func (e *SyntaxError) Error() string {
	text := e.What + " " + quote(e.Input) + ": " + e.Message
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// within returns the error for a text of which e's input is the part that begins at offset.
func (e *SyntaxError) within(what, input string, offset int) *SyntaxError {
	moved := *e
	moved.What, moved.Input, moved.At = what, input, offset+e.At
	return &moved
}

func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
