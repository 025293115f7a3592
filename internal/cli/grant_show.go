package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/grant"
	"moat/internal/secret"
)

type grantShowOptions struct{ reveal, asJSON bool }

func (app *App) grantShowCommand() *cobra.Command {
	var o grantShowOptions
	c := &cobra.Command{
		Use:   "show <grant> [--reveal] [--json]",
		Short: "Show a credential that is stored",
		Long:  "Show a credential that is stored, without its value. With --reveal nothing but the value is printed.",
		Example: `  moat grant show github
  curl -H "Authorization: Bearer $(moat grant show github --reveal)" https://api.github.com/user`,
		Args: oneGrant,
		RunE: func(c *cobra.Command, args []string) error { return app.grantShow(c, o, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return app.completeStored()
		},
	}
	c.Flags().BoolVar(&o.reveal, "reveal", false, "print the value, and nothing else")
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return c
}

func oneGrant(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef(c, "name one grant")
	}
	return nil
}

func (app *App) grantShow(c *cobra.Command, o grantShowOptions, name string) error {
	if o.reveal && o.asJSON {
		return usagef(c, "--reveal and --json cannot both be")
	}
	book, err := app.book()
	if err != nil {
		return err
	}
	ref, err := grant.ParseRef(name)
	if err != nil {
		return err
	}
	credential, err := book.Read(c.Context(), ref)
	if errors.Is(err, secret.ErrNotFound) {
		if _, unknown := book.Provider(ref); unknown != nil {
			return unknown
		}
	}
	if err != nil {
		return err
	}
	if o.reveal && credential.Token.IsZero() {
		return &exitError{code: codeFailure, err: fmt.Errorf("the key of %s is in the ssh agent, and moat has never seen it", ref.Name())}
	}
	if o.reveal {
		_, err := fmt.Fprintln(app.Out, credential.Token.Expose())
		return err
	}
	g := look(c.Context(), book, ref)
	if o.asJSON {
		return printJSON(app.Out, g)
	}
	return app.describe(book, g)
}

// describe prints what is known of a credential, a line each.
func (app *App) describe(book *grant.Book, g granted) error {
	row := g.row()
	lines := [][2]string{{"grant", g.Grant}, {"source", row[1]}, {"age", row[2]}, {"expires", row[3]}, {"used", row[4]}, {"hosts", strings.Join(g.Hosts, ", ")}}
	if len(g.Scopes) > 0 {
		lines = append(lines, [2]string{"scopes", strings.Join(g.Scopes, ", ")})
	}
	if p, err := book.Find(g.Provider); err == nil && len(p.Env) > 0 {
		var names []string
		for _, v := range p.Env {
			names = append(names, v.Name)
		}
		lines = append(lines, [2]string{"variables", strings.Join(names, ", ")})
	}
	if g.Problem != nil {
		lines = append(lines, [2]string{"problem", *g.Problem})
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(app.Out, "%-10s %s\n", l[0], plain(l[1])); err != nil {
			return err
		}
	}
	return nil
}
