//go:build linux

package native

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/tools.md")

const toolsPage = "../../../docs/tools.md"

// The tables of docs/tools.md are the tables of the code.
func TestToolsPage(t *testing.T) {
	old, err := os.ReadFile(toolsPage)
	okay(t, err)
	page := replaceBetween(t, string(old), "homes", homesTable())
	page = replaceBetween(t, page, "etc", "`"+strings.Join(etcSecrets(), "` `")+"`\n")
	if *update {
		okay(t, os.WriteFile(toolsPage, []byte(page), 0o644))
		return
	}
	if diff := cmp.Diff(page, string(old)); diff != "" {
		t.Errorf("docs/tools.md is not what the code says; run go test ./internal/sandbox/native -run ToolsPage -update:\n%s", diff)
	}
}

func homesTable() string {
	var b strings.Builder
	b.WriteString("| tool | variables | places | visible | hidden besides |\n|---|---|---|---|---|\n")
	for _, l := range layouts() {
		visible := "all"
		if l.parts != nil {
			visible = "`" + strings.Join(l.parts, "` `") + "`"
		}
		if l.onlyAsked {
			visible += ", if asked for"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", l.name, code(l.env), code(l.roots), visible, code(l.masks))
	}
	return b.String()
}

func code(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "`" + strings.Join(list, "` `") + "`"
}

func replaceBetween(t *testing.T, page, name, text string) string {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("docs/tools.md has no section %q", name)
	}
	return before + begin + text + end + after
}
