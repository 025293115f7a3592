package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/sandbox"
)

func (app *App) doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what works on this machine, and how to mend what does not",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return app.doctor(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// diagnosis is what "moat doctor --json" prints.
type diagnosis struct {
	Home     string             `json:"home"`
	Runtimes []runtimeDiagnosis `json:"runtimes"`
	Tools    []ToolReport       `json:"tools"`
}

type runtimeDiagnosis struct {
	Name    string `json:"name"`
	Works   bool   `json:"works"`
	Default bool   `json:"default"`
	Reason  string `json:"reason,omitempty"`
	Fix     string `json:"fix,omitempty"`
	Instead string `json:"instead,omitempty"`
}

// ToolReport says what became of one of the person's tool homes.
type ToolReport struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	Why     string   `json:"why"`
	Masked  []string `json:"masked"`
	Refused string   `json:"refused,omitempty"`
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
	d := diagnosis{Home: home.Path(), Runtimes: app.examine(ctx), Tools: app.ToolReports(Wanted{Home: userHome, MoatHome: home.Path()})}
	if asJSON {
		err = printJSON(app.Out, d)
	} else {
		err = app.printDiagnosis(d)
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(d.Runtimes, func(r runtimeDiagnosis) bool { return r.Works }) {
		return &exitError{code: codeFailure, err: errors.New("no runtime works on this machine")}
	}
	return nil
}

// examine tries every runtime.
func (app *App) examine(ctx context.Context) []runtimeDiagnosis {
	runtimes := app.Runtimes()
	out := []runtimeDiagnosis{}
	for _, name := range slices.Sorted(maps.Keys(runtimes)) {
		r := runtimeDiagnosis{Name: name, Default: name == app.DefaultRuntime}
		err := runtimes[name].Check(ctx)
		var unavailable *sandbox.Unavailable
		switch {
		case err == nil:
			r.Works = true
		case errors.As(err, &unavailable):
			r.Reason, r.Fix, r.Instead = unavailable.Reason, unavailable.Fix, unavailable.Instead
		default:
			r.Reason = err.Error()
		}
		out = append(out, r)
	}
	return out
}

func (app *App) printDiagnosis(d diagnosis) error {
	var b strings.Builder
	fmt.Fprintf(&b, "MOAT_HOME  %s\n", d.Home)
	for _, r := range d.Runtimes {
		if r.Works {
			fmt.Fprintf(&b, "runtime    %s works\n", r.Name)
			continue
		}
		fmt.Fprintf(&b, "runtime    %s does not work: %s\n", r.Name, r.Reason)
		for line := range strings.Lines(r.Fix) {
			fmt.Fprintf(&b, "             %s\n", strings.TrimRight(line, "\n"))
		}
	}
	for _, t := range d.Tools {
		if t.Refused != "" {
			fmt.Fprintf(&b, "tool       %s  %s  not visible inside: %s\n", t.Path, t.Name, t.Refused)
			continue
		}
		fmt.Fprintf(&b, "tool       %s  %s (%s)\n", t.Path, t.Name, t.Why)
		for _, m := range t.Masked {
			fmt.Fprintf(&b, "             hidden: %s\n", m)
		}
	}
	_, err := fmt.Fprint(app.Out, plain(b.String()))
	return err
}
