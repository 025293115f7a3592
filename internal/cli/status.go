package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/run"
)

func (app *App) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [--json]",
		Short: "Say how many runs there are, and what is left of some",
		Long: `Say how many runs there are in each state, which of them cannot be read, and which containers of an engine belong to none:
"moat clean" removes those.`,
		Example: "  moat status",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return app.status(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// standing is what "moat status --json" prints.
type standing struct {
	Home    string            `json:"home"`
	Runs    map[string]int    `json:"runs"` // by state, those that there are
	Damaged []damagedRun      `json:"damaged"`
	Orphans []orphanContainer `json:"orphans"`
	Unasked *string           `json:"unasked"` // why the engine could not be asked for orphans
}

type damagedRun struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

type orphanContainer struct {
	Runtime string `json:"runtime"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Run     string `json:"run"`
}

func (app *App) status(ctx context.Context, asJSON bool) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	list, err := home.List(true)
	if err != nil {
		return err
	}
	s := standing{Home: home.Path(), Runs: make(map[string]int), Damaged: []damagedRun{}, Orphans: []orphanContainer{}}
	for _, e := range list.Runs {
		s.Runs[string(e.State)]++
	}
	for _, p := range list.Problems {
		s.Damaged = append(s.Damaged, damagedRun{p.ID, p.Err.Error()})
	}
	orphans, err := app.orphans(ctx, home)
	if err != nil {
		s.Unasked = known(err.Error())
	}
	for _, c := range orphans {
		s.Orphans = append(s.Orphans, orphanContainer{c.Runtime, c.ID, c.Name, c.State, c.Ref.ID})
	}
	if asJSON {
		return printJSON(app.Out, s)
	}
	_, err = io.WriteString(app.Out, plain(s.text()))
	return err
}

// text is the same for people.
func (s standing) text() string {
	var b strings.Builder
	line := func(mark, label, value string) { fmt.Fprintf(&b, "%-2s %-10s %s\n", mark, label, value) }
	line("", "MOAT_HOME", s.Home)
	var counts []string
	for _, state := range run.States() {
		if n := s.Runs[string(state)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(counts) == 0 {
		counts = []string{"none"}
	}
	line("ok", "runs", strings.Join(counts, ", "))
	for _, d := range s.Damaged {
		line("!", "damaged", d.ID+": "+d.Reason)
	}
	for _, o := range s.Orphans {
		line("!", "container", fmt.Sprintf("%s (%s, %s) has no run; \"moat clean\" removes it", o.Name, o.Runtime, o.State))
	}
	if s.Unasked != nil {
		line("!", "containers", *s.Unasked)
	}
	return b.String()
}
