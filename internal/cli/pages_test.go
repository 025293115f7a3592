package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/cli anew")

// TestCommandPages keeps docs/cli the same as the commands' own help.
func TestCommandPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "cli")
	want := pages((&App{}).root())
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := make(map[string]string)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/cli is out of date; \"make generate\" writes it (-want +got):\n%s", diff)
	}
}

// pages are the pages of all commands, by file name.
func pages(root *cobra.Command) map[string]string {
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	all := map[string]string{"README.md": page(root)}
	for _, c := range root.Commands() {
		c.InitDefaultHelpFlag()
		all[c.Name()+".md"] = page(c)
	}
	return all
}

// page is the page of one command.
func page(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- made from the commands by \"make generate\" -->\n# %s\n\n%s\n", c.CommandPath(), about(c))
	if c.Runnable() && c.HasParent() {
		fmt.Fprintf(&b, "\n```\n%s\n```\n", c.UseLine())
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAlso: `moat %s`\n", strings.Join(c.Aliases, "`, `moat "))
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\n## Examples\n\n```\n%s\n```\n", unindent(c.Example))
	}
	for _, group := range c.Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| command | |\n|---|---|\n", strings.TrimSuffix(group.Title, ":"))
		for _, sub := range c.Commands() {
			if sub.GroupID == group.ID {
				fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", sub.Name(), sub.Name(), sub.Short)
			}
		}
	}
	fmt.Fprint(&b, "\n## Flags\n\n| flag | default | |\n|---|---|---|\n")
	for _, set := range []*pflag.FlagSet{c.NonInheritedFlags(), c.InheritedFlags()} {
		set.VisitAll(func(f *pflag.Flag) { fmt.Fprintln(&b, flagRow(f)) })
	}
	return b.String()
}

// about is what the help says; lists of examples in it stay as they are.
func about(c *cobra.Command) string {
	if c.Long == "" {
		return c.Short + "."
	}
	return c.Long
}

func flagRow(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	name := "`--" + f.Name
	if f.Shorthand != "" {
		name = "`-" + f.Shorthand + "`, " + name
	}
	if value != "" && f.NoOptDefVal == "" {
		name += " " + value
	}
	byDefault := ""
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
		byDefault = "`" + f.DefValue + "`"
	}
	return fmt.Sprintf("| %s` | %s | %s |", name, byDefault, strings.ReplaceAll(usage, "|", "\\|"))
}

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// TestHelp holds every command to the same: it says what it does, shows how, and every flag of it is explained.
func TestHelp(t *testing.T) {
	for _, c := range (&App{}).root().Commands() {
		t.Run(c.Name(), func(t *testing.T) {
			if !c.HasExample() || !strings.Contains(c.Example, c.CommandPath()) {
				t.Error("it has no example of its own")
			}
			if strings.HasSuffix(c.Short, ".") || c.Short == "" {
				t.Errorf("short description %q: a phrase without a full stop", c.Short)
			}
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("--%s is not explained", f.Name)
				}
				if value, _ := pflag.UnquoteUsage(f); value == "stringArray" || value == "string" {
					t.Errorf("--%s: name its value in the usage, in backquotes", f.Name)
				}
			})
		})
	}
}
