package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/grant"
	"moat/internal/secret"
)

func (app *App) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke <grant>",
		Short: "Remove a credential that is stored",
		Long: `Remove a credential that is stored, also one that cannot be opened any more. Runs that use it keep it until they end: stop
them if they must not. The provider knows nothing of this: end the token there as well if others may have it.`,
		Example: "  moat revoke github",
		Args:    oneGrant,
		RunE:    func(_ *cobra.Command, args []string) error { return app.revoke(args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return app.completeStored()
		},
	}
}

func (app *App) revoke(name string) error {
	book, err := app.book()
	if err != nil {
		return err
	}
	ref, err := grant.ParseRef(name)
	if err != nil {
		return err
	}
	err = book.Remove(ref)
	if errors.Is(err, secret.ErrNotFound) {
		return app.nothingStored(book, ref.Name())
	}
	if err != nil {
		return err
	}
	app.say("removed the credential of %s", ref.Name())
	if p, err := book.Find(ref.Provider); err == nil && strings.HasPrefix(p.Obtain, "https:") {
		app.say("the token still works; to end it: %s", p.Obtain)
	}
	return nil
}

// nothingStored names what is.
func (app *App) nothingStored(book *grant.Book, name string) error {
	err := fmt.Errorf("no credential of %s is stored", name)
	names := storedNames(book)
	if len(names) == 0 {
		return err
	}
	return &exitError{code: codeFailure, err: err, hint: "there are " + strings.Join(names, ", ")}
}

// completeStored are the stored credentials for a shell.
func (app *App) completeStored() ([]string, cobra.ShellCompDirective) {
	book, err := app.book()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return storedNames(book), cobra.ShellCompDirectiveNoFileComp
}

// storedNames are the grants that are stored, as far as they can be listed.
func storedNames(book *grant.Book) (names []string) {
	refs, err := book.List()
	if err != nil {
		return nil
	}
	for _, ref := range refs {
		names = append(names, ref.Name())
	}
	return names
}
