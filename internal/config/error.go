package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// maxProblems bounds the report on one file. A megabyte of nonsense has no more
// to say to a person than its first screenful.
const maxProblems = 50

// excerptRunes bounds the part of a long line that an excerpt shows.
const excerptRunes = 100

// Error says what is wrong with one file. It is never empty.
type Error struct {
	// File is the file as it is named in messages.
	File string
	// Problems are in the order of the file. When there were too many, the
	// last one says how many were left out.
	Problems []Problem
}

// Problem is one thing wrong in a file. All its text is safe for a terminal:
// what the file contains is quoted.
type Problem struct {
	// Line and Column count lines and characters from 1. Both are 0 when the
	// problem is the file as a whole.
	Line, Column int
	// Message says what is wrong.
	Message string
	// Hint says what to write instead. It may be empty.
	Hint string
	// Source is the raw line, without its end; see [Error.Detail].
	Source string
}

// Error returns one line for each problem, in the form that editors and
// compilers share: file:line:column: message; hint.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = e.where(p) + p.text()
	}
	return strings.Join(lines, "\n")
}

// Detail returns the same report for a person to read: below each line the
// source is shown with a caret under the column. It ends without a newline.
func (e *Error) Detail() string {
	var out strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(e.where(p) + p.text())
		if p.Line > 0 && p.Source != "" {
			shown, caret := excerpt(p.Source, p.Column)
			number := strconv.Itoa(p.Line)
			fmt.Fprintf(&out, "\n  %s | %s", number, shown)
			fmt.Fprintf(&out, "\n  %*s | %s^", len(number), "", caret)
		}
	}
	return out.String()
}

func (e *Error) where(p Problem) string {
	file := e.File
	if strings.ContainsFunc(file, unprintable) {
		file = strconv.Quote(file)
	}
	if p.Line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", file, p.Line, p.Column)
}

func (p Problem) text() string {
	if p.Hint == "" {
		return p.Message
	}
	return p.Message + "; " + p.Hint
}

// excerpt returns a line as a terminal may show it, and the blanks that put a
// caret under its column. A long line is cut to the part around the column.
func excerpt(line string, column int) (shown, caret string) {
	runes := []rune(strings.ToValidUTF8(line, "\ufffd"))
	at := min(max(column-1, 0), len(runes))
	from := max(0, min(at-excerptRunes/2, len(runes)-excerptRunes))
	to := min(len(runes), from+excerptRunes)

	var text, blanks strings.Builder
	if from > 0 {
		text.WriteString("…")
		blanks.WriteString(" ")
	}
	for i, r := range runes[from:to] {
		if r == '\t' {
			r = ' '
		} else if unprintable(r) {
			r = '\ufffd'
		}
		text.WriteRune(r)
		if from+i < at {
			blanks.WriteString(strings.Repeat(" ", cells(r)))
		}
	}
	if to < len(runes) {
		text.WriteString("…")
	}
	return text.String(), blanks.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// cells is the width of a character on a terminal, as far as it matters for
// putting a caret under ordinary text.
func cells(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x1f300 && r <= 0x1faff, r >= 0xff01 && r <= 0xff60:
		return 2
	}
	return 1
}
