package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// MaxEntry is the most bytes that an encoded entry may have.
const MaxEntry = 256 << 10

// maxText is what is kept of a text that is longer, and maxList of a list, in bytes.
const (
	maxText = 2 << 10
	maxList = 6 << 10
)

// Entry is one thing that happened.
type Entry struct {
	Seq    int64 // from 1
	Time   time.Time
	Kind   string
	Fields []Field // sorted by name
}

// Field is one fact about it. Exactly one of the values is set, as Type says.
type Field struct {
	Name string
	Type FieldType
	Text string
	Num  int64
	List []string
}

// FieldType says which value a Field has.
type FieldType uint8

// Types of fields. A flag is a number, 0 or 1.
const (
	IsText FieldType = iota
	IsNumber
	IsFlag
	IsList
)

// Text is a field with a text, which is cut if it is long.
func Text(name, text string) Field { return Field{Name: name, Text: cut(text, maxText)} }

// Number is a field with a number.
func Number[T ~int | ~int64 | ~uint64](name string, n T) Field {
	return Field{Name: name, Type: IsNumber, Num: int64(n)}
}

// Flag is a field that is true or false.
func Flag(name string, on bool) Field {
	f := Field{Name: name, Type: IsFlag}
	if on {
		f.Num = 1
	}
	return f
}

// List is a field with texts. A list that is long is cut, and "…" is its last text.
func List(name string, texts []string) Field {
	f := Field{Name: name, Type: IsList, List: []string{}}
	room := maxList
	for _, t := range texts {
		t = cut(t, maxText)
		if room -= len(t) + 3; room < 0 {
			f.List = append(f.List, "…")
			break
		}
		f.List = append(f.List, t)
	}
	return f
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}

// Moment is a field with a time.
func Moment(name string, t time.Time) Field { return Field{Name: name, Text: t.UTC().Format(timeForm)} }

// Get returns the field with a name; false if there is none.
func (e Entry) Get(name string) (Field, bool) {
	i, ok := slices.BinarySearchFunc(e.Fields, name, func(f Field, name string) int { return cmp.Compare(f.Name, name) })
	if !ok {
		return Field{}, false
	}
	return e.Fields[i], true
}

// Text returns a field's text, "" if it has none.
func (e Entry) Text(name string) string {
	f, _ := e.Get(name)
	return f.Text
}

// Number returns a field's number, or -1 if it has none.
func (e Entry) Number(name string) int64 {
	f, ok := e.Get(name)
	if !ok || f.Type != IsNumber {
		return -1
	}
	return f.Num
}

// timeForm is RFC 3339 in UTC with nine digits of a second, always.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// Append appends the one encoding of an entry, whose fields it sorts. A kind, name or size that cannot be one is a mistake
// of the program and panics, because no entry may be left out.
func (e Entry) Append(dst []byte) []byte {
	slices.SortFunc(e.Fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	begin := len(dst)
	dst = fmt.Appendf(dst, `{"seq":%d,"t":"`, e.Seq)
	dst = e.clock().AppendFormat(dst, timeForm)
	dst = append(dst, `","kind":`...)
	dst = appendText(dst, e.Kind)
	before := ""
	for _, f := range e.Fields {
		if !isName(f.Name) || f.Name <= before || reserved(f.Name) {
			panic("audit: no entry can have a field " + f.Name)
		}
		before = f.Name
		dst = append(append(append(dst, `,"`...), f.Name...), `":`...)
		dst = f.append(dst)
	}
	dst = append(dst, '}')
	if e.Seq < 1 || !isName(e.Kind) || len(dst)-begin > MaxEntry {
		panic("audit: not an entry: " + e.Kind)
	}
	return dst
}

// clock is the time as an entry can have it: years have four digits.
func (e Entry) clock() time.Time {
	t := e.Time.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

func (f Field) append(dst []byte) []byte {
	switch f.Type {
	case IsText:
		return appendText(dst, f.Text)
	case IsNumber:
		return fmt.Appendf(dst, "%d", f.Num)
	case IsFlag:
		return fmt.Appendf(dst, "%t", f.Num == 1)
	}
	dst = append(dst, '[')
	for i, t := range f.List {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, t)
	}
	return append(dst, ']')
}

// isName reports whether a text can be a kind or the name of a field.
func isName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

func reserved(name string) bool { return name == "seq" || name == "t" || name == "kind" }
