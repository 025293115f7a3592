package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/grant"
)

func (app *App) grantListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list [--json]",
		Aliases: []string{"ls"},
		Short:   "List the credentials that are stored, never their values",
		Example: "  moat grant list --json",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return app.grantList(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// granted is one credential as "moat grant list --json" prints it.
type granted struct {
	Grant      string     `json:"grant"` // as for --grant
	Provider   string     `json:"provider"`
	Profile    *string    `json:"profile"`
	Source     *string    `json:"source"`
	Scopes     []string   `json:"scopes"`
	Hosts      []string   `json:"hosts"`
	CreatedAt  *time.Time `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	Expired    bool       `json:"expired"`
	Renewed    bool       `json:"renewed"`      // by runs that use it
	LastUsedAt *time.Time `json:"last_used_at"` // by a run, to the minute; null: by none
	// Problem says why no run can use it; null: nothing is known against it.
	Problem *string `json:"problem"`
}

func (app *App) grantList(ctx context.Context, asJSON bool) error {
	book, err := app.book()
	if err != nil {
		return err
	}
	refs, err := book.List()
	if err != nil {
		return err
	}
	list := []granted{}
	for _, ref := range refs {
		list = append(list, look(ctx, book, ref))
	}
	switch {
	case asJSON:
		return printJSON(app.Out, list)
	case app.quiet:
		var names strings.Builder
		for _, g := range list {
			fmt.Fprintln(&names, g.Grant)
		}
		_, err := io.WriteString(app.Out, names.String())
		return err
	case len(list) == 0:
		app.say(`no credential is stored; "moat grant PROVIDER" stores one`)
		return nil
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tSOURCE\tAGE\tEXPIRES\tUSED\tHOSTS")
	for _, g := range list {
		fmt.Fprintln(w, strings.Join(g.row(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if _, err := table.WriteTo(app.Out); err != nil {
		return err
	}
	for _, g := range list {
		if g.Problem != nil {
			app.say("%s", plain(*g.Problem))
		}
	}
	return nil
}

// look says everything about a stored credential but its value.
func look(ctx context.Context, book *grant.Book, ref grant.Ref) granted {
	g := granted{Grant: ref.Name(), Provider: ref.Provider, Profile: known(ref.Profile), Scopes: []string{}, Hosts: []string{}}
	provider, err := book.Provider(ref)
	if err == nil {
		g.Hosts = append(append(g.Hosts, provider.Hosts...), provider.Through...)
		err = book.Check(ctx, []string{ref.Name()})
	}
	if err != nil {
		g.Problem = known(err.Error())
	}
	c, err := book.Read(ctx, ref)
	if err != nil {
		return g // which Check has said
	}
	g.Source, g.Scopes = known(c.Source), append([]string{}, c.Scopes...)
	created := c.CreatedAt.UTC()
	g.CreatedAt = &created
	if used := book.LastUsed(ref); used.After(c.CreatedAt) {
		used = used.UTC()
		g.LastUsedAt = &used
	}
	if !c.ExpiresAt.IsZero() {
		end := c.ExpiresAt.UTC()
		g.ExpiresAt, g.Expired, g.Renewed = &end, !time.Now().Before(end), !c.Refresh.IsZero()
	}
	return g
}

func (g granted) row() []string {
	source, since, ends, used := "-", "-", "-", "-"
	if g.LastUsedAt != nil {
		used = age(time.Since(*g.LastUsedAt)) + " ago"
	}
	if g.Source != nil {
		source = plain(*g.Source)
	}
	if g.CreatedAt != nil {
		since = age(time.Since(*g.CreatedAt))
	}
	switch {
	case g.Expired && g.Renewed:
		ends = "renewed by runs"
	case g.Expired:
		ends = "expired"
	case g.ExpiresAt != nil:
		ends = "in " + age(time.Until(*g.ExpiresAt))
	}
	return []string{g.Grant, source, since, ends, used, strings.Join(g.Hosts, ",")}
}
