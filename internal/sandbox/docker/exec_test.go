package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// piece is what an engine sends of a program's output.
func piece(stream byte, text string) string {
	return string(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(text)))) + text
}

func reading(text string) *program { return &program{r: bufio.NewReader(strings.NewReader(text))} }

func TestProgram(t *testing.T) {
	for name, test := range map[string]struct {
		sent, want, fails string
	}{
		"output":              {piece(1, "one ") + piece(1, "") + piece(1, "two"), "one two", ""},
		"beside complaints":   {piece(2, "odd") + piece(1, "one"), "one", "in the container: odd"},
		"only complaints":     {piece(2, "no such program\n"), "", "in the container: no such program"},
		"cut off":             {piece(1, "one")[:10], "on", "unexpected EOF"},
		"a stream of nobody":  {piece(7, "x"), "", "stream 7"},
		"no head":             {"HTTP/1.1 500", "", "something else"},
		"a piece of 4 GB":     {"\x01\x00\x00\x00\xff\xff\xff\xff", "", "something else"},
		"complaints too long": {piece(2, strings.Repeat("x", 3*maxSaid)+"end"), "", "in the container: xxx"},
	} {
		got, err := io.ReadAll(reading(test.sent))
		if string(got) != test.want || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s: %q, %.80v; want %q, %q", name, got, err, test.want, test.fails)
		}
	}
}

// FuzzProgram reads what an engine, or what is in its place, may send.
func FuzzProgram(f *testing.F) {
	f.Add([]byte(piece(1, "one") + piece(2, "two")))
	f.Fuzz(func(t *testing.T, sent []byte) {
		p := &program{r: bufio.NewReader(bytes.NewReader(sent))}
		got, _ := io.ReadAll(p)
		if len(got) > len(sent) || len(p.said) > maxSaid {
			t.Errorf("%d bytes of %d, %d of complaints", len(got), len(sent), len(p.said))
		}
	})
}
