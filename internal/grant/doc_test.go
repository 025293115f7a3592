package grant

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/config"
)

// The table of the page is what the code does, and its example is a good file.
func TestDocCredentials(t *testing.T) {
	data, err := os.ReadFile("../../docs/credentials.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	rows := 0
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `") {
			rows++
		}
	}
	if rows != len(builtin()) {
		t.Errorf("the table has %d providers, there are %d", rows, len(builtin()))
	}
	for _, p := range builtin() {
		var names, ways []string
		for _, v := range p.Env {
			names = append(names, v.Name)
		}
		for _, rule := range p.Rules {
			way := fmt.Sprintf("`%s: %s`", rule.Header, rule.Format)
			for _, where := range append([]string{rule.Path}, rule.Hosts...) {
				if where != "" {
					way = fmt.Sprintf("`%s`: %s", where, way)
				}
			}
			if rule.User != "" {
				way += fmt.Sprintf(" of `%s`", rule.User)
			}
			ways = append(ways, way)
		}
		if p.Sign != nil {
			ways = []string{"signed anew: [AWS](#aws)"}
		}
		quoted := func(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }
		row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", p.Name, quoted(p.Hosts), strings.Join(ways, "; "), quoted(names))
		if !strings.Contains(page, row) {
			t.Errorf("the page does not say:\n%s", row)
		}
	}
	_, rest, _ := strings.Cut(page, "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	if _, err := config.ParseProvider(filepath.Join("providers", "lab.yaml"), []byte(example)); err != nil {
		t.Errorf("the example: %v", err)
	}
}
