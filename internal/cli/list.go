package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/run"
)

func (app *App) listCommand() *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:     "list [-a] [--json]",
		Aliases: []string{"ls", "ps"},
		Short:   "List runs that are going on",
		Long: `List runs that are going on, newest first; with -a those that ended as well. With -q only their ids are printed. A run
that lost its supervisor is taken over first.`,
		Example: `  moat list
  moat list -a --json
  moat destroy -f $(moat list -aq)`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return app.list(c.Context(), all, asJSON) },
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "those that ended as well")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(c, "unexpected argument %q", args[0])
	}
	return nil
}

// listed is one run as "moat list --json" prints it.
type listed struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	State       run.State      `json:"state"`
	Runtime     string         `json:"runtime"`
	Interactive bool           `json:"interactive"`
	Workspace   string         `json:"workspace"`
	Command     []string       `json:"command"`
	Grants      []string       `json:"grants"`
	Ports       map[string]int `json:"ports"`
	Clients     *int           `json:"clients"`
	CreatedAt   time.Time      `json:"created_at"`
	StartedAt   *time.Time     `json:"started_at"`
	EndedAt     *time.Time     `json:"ended_at"`
	ExitCode    *int           `json:"exit_code"`
	Reason      *string        `json:"reason"`

	// Attention says why the command seems to wait for somebody; null: it does not, or nobody knows.
	Attention    *string    `json:"attention"`
	LastOutputAt *time.Time `json:"last_output_at"`
}

func (app *App) list(ctx context.Context, all, asJSON bool) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	list, err := app.listSettled(ctx, home, all)
	if err != nil {
		return err
	}
	for _, p := range list.Problems {
		app.say("%s", plain(p.Err.Error()))
	}
	if app.quiet && !asJSON {
		return printIDs(app.Out, list.Runs)
	}
	infos := askSupervisors(ctx, home, list.Runs)
	if asJSON {
		return printJSON(app.Out, toListed(list.Runs, infos))
	}
	if len(list.Runs) == 0 {
		app.say("%s", cmp.Or(map[bool]string{true: "there are no runs"}[all], `no run is going on; "moat list -a" shows those that ended`))
		return nil
	}
	return printTable(app.Out, list.Runs, infos)
}

// printTable prints a row for each run. What a command says of itself is made harmless.
func printTable(out io.Writer, runs []run.Entry, infos []*api.Info) error {
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tCLIENTS\tATTENTION\tAGE\tCOMMAND")
	for i, e := range runs {
		clients, attention := "-", "-"
		if infos[i] != nil {
			clients = fmt.Sprint(infos[i].Clients)
			if why := infos[i].Attention; why != nil {
				attention = "waiting: " + cut(*why, 30)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Name, stateText(e.Record), clients, attention,
			age(time.Since(e.CreatedAt)), cut(strings.Join(e.Plan.Command, " "), 50))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	_, err := table.WriteTo(out)
	return err
}

// printIDs prints one id a line, for other commands.
func printIDs(w io.Writer, runs []run.Entry) error {
	var b strings.Builder
	for _, e := range runs {
		fmt.Fprintln(&b, e.ID)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// listSettled lists runs as they are true now: those that nobody looks after are adopted first.
func (app *App) listSettled(ctx context.Context, home *run.Home, all bool) (run.Listing, error) {
	list, err := home.List(true)
	if err != nil {
		return list, err
	}
	var adopters sync.WaitGroup
	adopted := false
	for _, e := range list.Runs {
		if !e.Unattended() {
			continue
		}
		adopted = true
		adopters.Go(func() {
			if err := app.adopt(ctx, home, e.ID); err != nil {
				app.say("%v", err)
			}
		})
	}
	adopters.Wait()
	if adopted {
		return home.List(all)
	}
	if !all {
		list.Runs = slices.DeleteFunc(list.Runs, func(e run.Entry) bool { return e.State.Final() })
	}
	return list, nil
}

// askSupervisors asks those of live runs what only they know, all at once. Nil is no answer. A state that is not on disk
// yet is put in its place.
func askSupervisors(ctx context.Context, home *run.Home, runs []run.Entry) []*api.Info {
	infos := make([]*api.Info, len(runs))
	var askers sync.WaitGroup
	for i, e := range runs {
		if !e.State.Live() {
			continue
		}
		askers.Go(func() {
			client := api.NewClient(home.Dir(e.ID))
			defer client.Close()
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			info, err := client.Info(ctx)
			if err != nil {
				return
			}
			infos[i] = &info
			if state := run.State(info.State); state.Live() { // how a run ended is on disk
				runs[i].State = state
			}
		})
	}
	askers.Wait()
	return infos
}

// askTimeout bounds what a listing waits for a supervisor: it is either there or being replaced.
const askTimeout = time.Second

func toListed(runs []run.Entry, infos []*api.Info) []listed {
	out := make([]listed, len(runs))
	for i, e := range runs {
		zero := 0
		out[i] = listed{
			ID: e.ID, Name: e.Name, State: e.State, Runtime: e.Plan.Runtime, Interactive: e.Plan.Interactive,
			Workspace: e.Plan.Workspace, Command: e.Plan.Command, Grants: []string{}, Ports: map[string]int{},
			CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, EndedAt: e.EndedAt, ExitCode: e.ExitCode,
		}
		if info := infos[i]; info != nil {
			out[i].Clients, out[i].Attention, out[i].LastOutputAt = &info.Clients, info.Attention, info.LastOutputAt
		}
		if e.State.Final() {
			out[i].Clients = &zero
		}
		if e.Reason != "" {
			out[i].Reason = &e.Reason
		}
	}
	return out
}

// printJSON prints a result as indented JSON.
func printJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

// stateText is a state with the exit code, for people.
func stateText(r run.Record) string {
	if r.ExitCode != nil {
		return fmt.Sprintf("%s (%d)", r.State, *r.ExitCode)
	}
	return string(r.State)
}

// age is a duration as people say it.
func age(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.of {
			return fmt.Sprintf("%d%s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%ds", max(d, 0)/time.Second)
}

// cut makes text fit a column and harmless for a terminal.
func cut(s string, most int) string {
	r := []rune(plain(strings.NewReplacer("\n", " ", "\t", " ").Replace(s)))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return cmp.Or(string(r), "-")
}
