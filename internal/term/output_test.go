package term

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/terminal-output.md anew")

const outputPath = "../../docs/terminal-output.md"

// TestOutputDocument keeps docs/terminal-output.md what the table says; go generate writes it.
func TestOutputDocument(t *testing.T) {
	want := outputDocument()
	if *update {
		if err := os.WriteFile(outputPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(outputPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/terminal-output.md is not what the table says; run go generate ./internal/term (-want +got):\n%s", diff)
	}
}

const outputIntro = "<!-- Made by go generate from the table in internal/term. Do not edit. -->\n" + `
# What a program may do to your terminal

While you are attached to a run, moat passes to your terminal what is in this table, and nothing else: a sequence that
has no row is dropped. The same holds for a repaint, and for a replay.

- "passes": always. "dropped": never. A name: if you allow it (the options below). "in part": the row says which part.
- "given back": what moat sends when you leave, if the program has not undone it itself. It is sent on every way out,
  also when moat is killed. What was not touched is not sent. Modes are switched to their normal state.
- Text is valid UTF-8; a byte that is not becomes U+FFFD. Sequences pass whole, without control characters inside, with
  numbers of at most five digits, at most 512 bytes long, and strings at most 4 kB (the clipboard 128 kB, images 8 MB).
  A string without an end is dropped up to the next ESC, or for 8 MB.
- What a terminal cannot do it cannot give back either: one without a stack of titles keeps the program's title. Where
  moat is killed under a shell, the shell's prompt and what gives the terminal back may come in either order.
- A terminal answers queries only while it is the one that leads; otherwise moat answers, or another terminal does.

| option | allows |
|---|---|
| Queries | the terminal answers queries; set by moat for the leading terminal |
| Colours | set the palette and the default colours |
| Clipboard | write the clipboard; reading is never allowed |
| Notifications | desktop notifications |
| Images | sixel and kitty images |
| KeepScrollback | takes away: the scrollback cannot be erased |

| kind | sequences | what | passes? | given back | why |
|---|---|---|---|---|---|
`

func outputDocument() string {
	var b strings.Builder
	b.WriteString(outputIntro)
	for _, r := range table() {
		keys := strings.ReplaceAll(strings.ReplaceAll(r.keys, "SP", "SP "), "|", `\|`)
		back := r.back
		if back == "" && (r.kind == kindMode || r.kind == kindANSI) && r.permit != never {
			back = map[bool]string{true: "set", false: "reset"}[r.initially]
		}
		cells := []string{string(r.kind), "`` " + keys + " ``", r.name, string(r.permit), back, r.reason}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}

// TestTable finds rows that could not mean what they say.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table() {
		if r.name == "" || r.reason == "" {
			t.Errorf("%s %s has no name or no reason", r.kind, r.keys)
		}
		for key := range strings.FieldsSeq(r.keys) {
			id := string(r.kind) + " " + key
			if seen[id] && id != "CSI t" {
				t.Errorf("%s is there twice", id)
			}
			seen[id] = true
		}
	}
	if n := len(newRules().undone); n > 64 {
		t.Errorf("%d modes, 64 have a bit", n)
	}
}

// TestEveryRow sends each row's sequences, and finds that the row is what happens.
func TestEveryRow(t *testing.T) {
	forms := map[kind]func(key string) string{
		kindEscape: func(key string) string { return "\x1b" + key },
		kindCSI: func(key string) string {
			if mark := key[0]; mark >= '<' && mark < '@' {
				return "\x1b[" + key[:1] + rowParams(key) + key[1:]
			}
			return "\x1b[" + rowParams(key) + key
		},
		kindMode: func(key string) string { return "\x1b[?" + key + "h" },
		kindANSI: func(key string) string { return "\x1b[" + key + "h" },
		kindOSC:  func(key string) string { return "\x1b]" + key + rowParams("OSC"+key) + st },
		kindDCS:  func(key string) string { return "\x1bP" + key + rowParams("DCS"+key) + st },
	}
	for _, r := range table() {
		form := forms[r.kind]
		if form == nil || r.name == "full reset" {
			continue // TestFilter has them
		}
		for key := range strings.FieldsSeq(r.keys) {
			if key == "t" || key == "<u" {
				continue // TestFilter has the cases
			}
			in := form(strings.ReplaceAll(key, "SP", " "))
			plain, all := filtered(Options{}, in), filtered(everything(), in)
			wantPlain, wantAll := r.permit == always || r.permit == judged, r.permit != never
			if strings.HasSuffix(plain, in) != wantPlain || strings.HasSuffix(all, in) != wantAll && r.name != "reset colours" {
				t.Errorf("%s %s (%s): %q passes as %q, with all options as %q", r.kind, key, r.permit, in, plain, all)
			}
		}
	}
}

// rowParams are parameters with which a sequence makes sense.
func rowParams(key string) string {
	return map[string]string{
		"n": "6", "?n": "6", ">m": "4;2", "?S": "1;1",
		"OSC0": ";t", "OSC1": ";t", "OSC2": ";t", "OSC8": ";;http://a", "OSC4": ";1;red", "OSC10": ";red", "OSC11": ";red", "OSC12": ";red",
		"OSC133": ";A", "OSC52": ";c;aGk=", "OSC9": ";hi", "OSC777": ";notify;a;b", "OSC99": ";;hi", "DCS$q": "m", "DCS+q": "41",
	}[key]
}
