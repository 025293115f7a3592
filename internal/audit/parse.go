package audit

import (
	"strconv"
	"strings"
	"time"
)

// maxFields bounds the fields of an entry, and the texts of a list.
const maxFields = 4096

// ParseEntry reads an entry. It accepts exactly what Append writes: ErrEncoding otherwise.
func ParseEntry(data []byte) (Entry, error) {
	var e Entry
	err := e.Parse(data)
	return e, err
}

// Parse is ParseEntry in the memory of an entry that is not needed any more.
func (e *Entry) Parse(data []byte) error {
	if len(data) > MaxEntry {
		return ErrEncoding
	}
	p := &parser{rest: string(data)}
	if !e.parseHead(p) {
		return ErrEncoding
	}
	before := ""
	e.Fields = e.Fields[:0]
	for p.take(`,`) {
		f, ok := p.field()
		if !ok || f.Name <= before || len(e.Fields) >= maxFields {
			return ErrEncoding
		}
		before = f.Name
		e.Fields = append(e.Fields, f)
	}
	if p.rest != "}" {
		return ErrEncoding
	}
	return nil
}

func (e *Entry) parseHead(p *parser) (ok bool) {
	if !p.take(`{"seq":`) {
		return false
	}
	if e.Seq, ok = p.number(); !ok || e.Seq < 1 || !p.take(`,"t":`) {
		return false
	}
	if e.Time, ok = p.moment(); !ok || !p.take(`,"kind":`) {
		return false
	}
	e.Kind, ok = p.text()
	return ok && isName(e.Kind)
}

// parser goes through the text of an entry.
type parser struct{ rest string }

func (p *parser) take(what string) (ok bool) {
	p.rest, ok = strings.CutPrefix(p.rest, what)
	return ok
}

func (p *parser) number() (int64, bool) {
	end := 0
	for end < len(p.rest) && (p.rest[end] >= '0' && p.rest[end] <= '9' || p.rest[end] == '-') {
		end++
	}
	digits := p.rest[:end]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(digits) > 1 && strings.TrimPrefix(digits, "-")[0] == '0' || digits == "-0" {
		return 0, false
	}
	p.rest = p.rest[end:]
	return n, true
}

func (p *parser) moment() (time.Time, bool) {
	text, ok := p.text()
	if !ok || len(text) != len(timeForm) {
		return time.Time{}, false
	}
	t, err := time.Parse(timeForm, text)
	return t, err == nil && text[len(text)-1] == 'Z' && text[19] == '.' // a comma is read as well
}

func (p *parser) field() (f Field, ok bool) {
	if f.Name, ok = p.text(); !ok || !isName(f.Name) || reserved(f.Name) || !p.take(":") || p.rest == "" {
		return f, false
	}
	switch p.rest[0] {
	case '"':
		f.Text, ok = p.text()
		return f, ok
	case 't', 'f':
		f.Type = IsFlag
		if p.take("true") {
			f.Num = 1
			return f, true
		}
		return f, p.take("false")
	case '[':
		f.Type = IsList
		f.List, ok = p.list()
		return f, ok
	}
	f.Type = IsNumber
	f.Num, ok = p.number()
	return f, ok
}

func (p *parser) list() ([]string, bool) {
	p.take("[")
	list := []string{}
	if p.take("]") {
		return list, true
	}
	for {
		text, ok := p.text()
		if !ok || len(list) >= maxFields {
			return nil, false
		}
		list = append(list, text)
		if p.take("]") {
			return list, true
		}
		if !p.take(",") {
			return nil, false
		}
	}
}
