package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/sandbox"
)

func (app *App) doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [--json]",
		Short: "Say what works on this machine, and how to mend what does not",
		Long: `Say which runtimes work here, what of the machine decides about that, and which of your own tools are visible in the
sandbox. The exit code is 1 if no runtime works.`,
		Example: "  moat doctor",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return app.doctor(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// diagnosis is what "moat doctor --json" prints.
type diagnosis struct {
	Home     string             `json:"home"`
	Runtimes []runtimeDiagnosis `json:"runtimes"`
	Machine  []machineDiagnosis `json:"machine"`
	Tools    []toolDiagnosis    `json:"tools"`
}

type runtimeDiagnosis struct {
	Name    string  `json:"name"`
	Works   bool    `json:"works"`
	Default bool    `json:"default"`
	Reason  *string `json:"reason"`
	Fix     *string `json:"fix"`
	Instead *string `json:"instead"`
}

type machineDiagnosis struct {
	Name  string  `json:"name"`
	Value string  `json:"value"`
	OK    bool    `json:"ok"`
	Note  *string `json:"note"`
}

type toolDiagnosis struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	Why     string   `json:"why"`
	Masked  []string `json:"masked"`
	Refused *string  `json:"refused"`
}

// Fact is one thing about the machine that decides what sandboxes can be like.
type Fact struct {
	Name  string // snake_case
	Value string // what was found
	OK    bool   // whether all is as it should be
	Note  string // what follows from it; "" if nothing does
}

// ToolReport says what became of one of the person's tool homes.
type ToolReport struct {
	Name    string
	Path    string
	Why     string   // it was looked at
	Masked  []string // what is hidden in it
	Refused string   // why it is not visible inside; "" if it is
}

func (app *App) doctor(ctx context.Context, asJSON bool) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	userHome, err := app.userHome()
	if err != nil {
		return err
	}
	d := diagnosis{Home: home.Path(), Runtimes: app.examine(ctx), Machine: []machineDiagnosis{}, Tools: []toolDiagnosis{}}
	for _, f := range app.Machine(home.Path()) {
		d.Machine = append(d.Machine, machineDiagnosis{f.Name, f.Value, f.OK, known(f.Note)})
	}
	for _, t := range app.ToolReports(Wanted{Home: userHome, MoatHome: home.Path()}) {
		d.Tools = append(d.Tools, toolDiagnosis{t.Name, t.Path, t.Why, slices.Concat([]string{}, t.Masked), known(t.Refused)})
	}
	if asJSON {
		err = printJSON(app.Out, d)
	} else {
		_, err = io.WriteString(app.Out, plain(d.text()))
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(d.Runtimes, func(r runtimeDiagnosis) bool { return r.Works }) {
		return &exitError{code: codeFailure, err: errors.New("no runtime works on this machine")}
	}
	return nil
}

// known is nil for what nobody knows, so that JSON has null.
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// examine tries every runtime, the one that is used by default first.
func (app *App) examine(ctx context.Context) []runtimeDiagnosis {
	runtimes, usual := app.Runtimes(), app.DefaultRuntime()
	out := []runtimeDiagnosis{}
	names := slices.Sorted(maps.Keys(runtimes))
	slices.SortStableFunc(names, func(a, b string) int {
		if a == usual {
			return -1
		}
		if b == usual {
			return 1
		}
		return 0
	})
	for _, name := range names {
		r := runtimeDiagnosis{Name: name, Default: name == usual}
		err := runtimes[name].Check(ctx)
		var unavailable *sandbox.Unavailable
		switch {
		case err == nil:
			r.Works = true
		case errors.As(err, &unavailable):
			r.Reason, r.Fix, r.Instead = known(unavailable.Reason), known(unavailable.Fix), known(unavailable.Instead)
		default:
			r.Reason = known(err.Error())
		}
		out = append(out, r)
	}
	return out
}

// text is the diagnosis for people: three columns of what was looked at, what was found, and what follows.
func (d diagnosis) text() string {
	var b strings.Builder
	line := func(mark, label, value string) { fmt.Fprintf(&b, "%-2s %-18s %s\n", mark, label, value) }
	more := func(text *string) {
		if text != nil {
			for l := range strings.Lines(*text) {
				line("", "", "  "+strings.TrimRight(l, "\n"))
			}
		}
	}
	line("", "MOAT_HOME", d.Home)
	for _, f := range d.Machine {
		line(mark(f.OK), strings.ReplaceAll(f.Name, "_", " "), f.Value)
		more(f.Note)
	}
	for _, r := range d.Runtimes {
		what := "works"
		if r.Default {
			what += ", and is used unless you say otherwise"
		}
		if !r.Works {
			what = "does not work"
		}
		line(mark(r.Works), "runtime "+r.Name, what)
		more(r.Reason)
		more(r.Fix)
	}
	for _, t := range d.Tools {
		line(mark(t.Refused == nil), "tool "+t.Name, t.Path+" ("+t.Why+")")
		if t.Refused != nil {
			line("", "", "  not visible inside: "+*t.Refused)
		}
		for _, m := range t.Masked {
			line("", "", "  hidden inside: "+m)
		}
	}
	return b.String()
}

// mark is how a line of a report begins.
func mark(ok bool) string {
	if ok {
		return "ok"
	}
	return "!"
}
