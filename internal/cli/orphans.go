package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"moat/internal/run"
	"moat/internal/sandbox"
)

// A Container is something that a runtime's engine keeps for moat.
type Container struct {
	Runtime string
	Ref     sandbox.Ref // of the sandbox that it was made for
	ID      string      // the engine's
	Name    string
	State   string // the engine's word
}

// orphans are the containers that no run of this home needs: theirs has ended, or is not there. Those of another home are
// nobody's when that is gone. An error is about engines that could not be asked; those of others are returned all the same.
func (app *App) orphans(ctx context.Context, home *run.Home) ([]Container, error) {
	all, unasked := app.Containers(ctx)
	if len(all) == 0 {
		return nil, unasked
	}
	list, err := home.List(true) // after the containers: each was made for a run that was there before
	if err != nil {
		return nil, err
	}
	needed := make(map[string]bool)
	for _, e := range list.Runs {
		needed[e.ID] = !e.State.Final() || e.CleanupPending
	}
	for _, p := range list.Problems {
		needed[p.ID] = true // what it is cannot be read
	}
	var out []Container
	for _, c := range all {
		ours := strings.HasPrefix(c.Ref.Dir, home.Path()+string(filepath.Separator))
		if ours && !needed[c.Ref.ID] || !ours && isGone(filepath.Dir(c.Ref.Dir)) {
			out = append(out, c)
		}
	}
	return out, unasked
}

// isGone tells whether there certainly is no such folder.
func isGone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
