package screens

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// change matches the sequences that leave something changed in a terminal (xterm's ctlseqs, kitty's keyboard protocol).
func change() *regexp.Regexp {
	return regexp.MustCompile(`\x1b(?:\[([?<=>]?)([0-9;:]*)([ "]?)([hlmrqu])|([=>])|([()*+])(.)|\](\d+)([^\x07\x1b]*)(?:\x07|\x1b\\)|\[(2[23]);?\d*t)`)
}

// leftOn follows output by itself, without the code that it judges, and names what a terminal that was in its normal
// state before has not got back.
func leftOn(output []byte) []string {
	left := map[string]bool{}
	set := func(what string, on bool) {
		if delete(left, what); on {
			left[what] = true
		}
	}
	alternate, depth, titles := 0, [2]int{}, 0
	for _, m := range change().FindAllSubmatch(lastStyle(output), -1) {
		mark, params, space, final := string(m[1]), string(m[2]), string(m[3]), string(m[4])
		switch {
		case final == "h" || final == "l":
			for number := range strings.SplitSeq(params, ";") {
				on := final == "h"
				if number == "47" || number == "1047" || number == "1049" {
					alternate = map[bool]int{true: 1}[on]
				}
				normal := mark == "?" && (number == "7" || number == "25")
				set("mode "+mark+number, on != normal && number != "1048")
			}
		case final == "m" && mark == "":
			set("style", params != "" && params != "0")
		case final == "r" && mark == "":
			set(fmt.Sprint("region of screen ", alternate), params != "")
		case final == "q" && space == " ":
			set("cursor shape", params != "" && params != "0")
		case final == "u" && mark == ">":
			depth[alternate]++
		case final == "u" && mark == "<":
			n, _ := strconv.Atoi(params)
			depth[alternate] = max(0, depth[alternate]-max(n, 1))
		case string(m[5]) != "":
			set("keypad", m[5][0] == '=')
		case string(m[6]) != "":
			set("character set "+string(m[6]), string(m[7]) != "B")
		case string(m[8]) == "8":
			set("link", strings.TrimPrefix(string(m[9]), ";") != ";")
		case string(m[10]) == "22":
			titles++
		case string(m[10]) == "23":
			titles--
		}
	}
	for i, n := range depth {
		set(fmt.Sprint("keyboard mode of screen ", i), n > 0)
	}
	set("title", titles > 0)
	return slices.Sorted(maps.Keys(left))
}

// lastStyle leaves out all SGR sequences but the last one: of floods they are most, and they take time to look at.
func lastStyle(output []byte) []byte {
	var kept, last []byte
	for len(output) > 0 {
		i := bytes.IndexByte(output, 0x1b)
		if i < 0 {
			break
		}
		end := i + 1
		if rest := output[i:]; len(rest) > 1 && rest[1] == '[' {
			n := 2
			for n < len(rest) && (rest[n] >= '0' && rest[n] <= ';') {
				n++
			}
			if n < len(rest) && rest[n] == 'm' {
				last = rest[:n+1]
				output = rest[n+1:]
				continue
			}
		}
		// What is not SGR is looked at with what follows it, as far as it may reach.
		next := bytes.IndexByte(output[end:], 0x1b)
		if next < 0 {
			next = len(output) - end
		}
		kept = append(kept, output[i:end+next]...)
		output = output[end+next:]
	}
	return append(kept, last...)
}

func TestLeftOn(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{"text\x1b[1m bold\x1b[m", nil},
		{"\x1b[?1049h\x1b[?25l\x1b[?1049l", []string{"mode ?25"}},
		{"\x1b[?1000;1006h\x1b[?1000l", []string{"mode ?1006"}},
		{"\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[<u\x1b[?1049l", []string{"keyboard mode of screen 0"}},
		{"\x1b[3;9r\x1b[5 q\x1b(0\x1b=", []string{"character set (", "cursor shape", "keypad", "region of screen 0"}},
		{"\x1b[22;0t\x1b]2;x\a", []string{"title"}},
		{"\x1b]8;;http://x\x1b\\here", []string{"link"}},
		{"\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\\x1b[22;0t\x1b[23;0t", nil},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, leftOn([]byte(test.in))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.in, diff)
		}
	}
}
