package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"moat/internal/atomicfile"
	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

// export writes a bundle of a run's record; of an empty id, of the machine's.
func (v *verifier) export(c *cobra.Command, id string, o auditOptions) error {
	first, last := int64(0), int64(0)
	if o.entries != "" {
		if n, err := fmt.Sscanf(o.entries, "%d-%d", &first, &last); n != 2 || err != nil || o.entries != fmt.Sprintf("%d-%d", first, last) || first < 1 || last < first {
			return usagef(c, "--entries %s: write the first and the last entry, such as 5-9", o.entries)
		}
	}
	dir, what := v.home.Path(), "the record of the machine"
	if id != "" {
		dir, what = v.home.Dir(id), id
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r, err := ledger.OpenReader(root)
	if err != nil {
		return err
	}
	defer r.Close()
	signed, err := v.newest(r, id)
	if err != nil {
		return fmt.Errorf("export %s: %w", what, err)
	}
	err = replaceFile(o.export, func(w io.Writer) error {
		if first == 0 {
			return audit.WriteBundle(w, signed.Note, signed.Size, r.Entries())
		}
		return audit.WriteRange(w, signed, first, last, r.Entries())
	})
	if err != nil {
		return fmt.Errorf("export %s: %w", what, err)
	}
	return nil
}

// newest is the newest checkpoint of a run, with its cosignatures if it is the one that a witness has seen.
func (v *verifier) newest(r *ledger.Reader, id string) (audit.Signed, error) {
	note, err := r.Newest()
	if err != nil {
		return audit.Signed{}, err
	}
	signed, err := audit.Open(note, v.keys.Own)
	if err != nil {
		return audit.Signed{}, err
	}
	seen, err := v.machine.Seen(audit.OriginOf(signed.By, id), v.keys.All())
	if err == nil && seen.Checkpoint == signed.Checkpoint {
		return seen, nil
	}
	return signed, nil
}

// replaceFile writes a file of the person's, whole or not at all.
func replaceFile(name string, write func(io.Writer) error) error {
	temp, err := os.CreateTemp(filepath.Dir(name), atomicfile.TempPrefix)
	if err != nil {
		return err
	}
	err = errors.Join(write(temp), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(temp.Name()))
	}
	return err
}

// bundleJSON is what "moat verify-bundle --json" prints.
type bundleJSON struct {
	Valid      bool             `json:"valid"`
	Entries    int64            `json:"entries"` // in the bundle
	First      *int64           `json:"first"`
	Last       *int64           `json:"last"`
	Run        *string          `json:"run"`   // null: it is of a machine's record
	Ended      *bool            `json:"ended"` // the bundle has the run's end; null: it is not whole, or of no run
	Checkpoint *checkpointJSON  `json:"checkpoint"`
	Problems   []problemJSON    `json:"problems"`
	Witnesses  []witnessingJSON `json:"witnesses"`
}

func (app *App) verifyBundleCommand() *cobra.Command {
	var asJSON bool
	var keys []string
	c := &cobra.Command{
		Use:   "verify-bundle [--key KEY]… [--json] FILE",
		Short: "Verify a bundle that \"moat audit --export\" wrote, on any machine",
		Long: `Verify a bundle that "moat audit --export" wrote: that its entries are those that were signed. It needs nothing but the file and the public
key of the machine that it came from ("moat audit key" there), which must have come another way than the bundle. Keys of this
machine, and those that "moat audit key --trust" has added, are known without --key.

Exit codes: 0 it is genuine and whole, 1 it is not, 2 a mistake on the command line.`,
		Example: `  moat verify-bundle --key moat/5b0c2f6a1d3e4f90+1a2b3c4d+AUxQ… tests.bundle`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef(c, "name one file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return app.verifyBundle(c, args[0], keys, asJSON) },
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "a public `KEY` that is known; may be given more than once")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (app *App) verifyBundle(c *cobra.Command, file string, texts []string, asJSON bool) error {
	keys, err := app.knownKeys(c, texts)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return &exitError{code: codeUsage, err: err}
	}
	defer f.Close()
	var seen, ended int64
	b, bad := audit.VerifyBundle(f, keys, func(e audit.Entry) {
		if seen++; e.Kind == "ended" {
			ended++
		}
	})
	j := bundleJSON{Valid: bad == nil, Entries: seen, Checkpoint: toCheckpointJSON(b.Signed), Problems: []problemJSON{}, Witnesses: []witnessingJSON{}}
	if bad != nil {
		j.Problems = append(j.Problems, problemJSON{Problem: bad.Error()})
	} else {
		j.First, j.Last, j.Run = &b.First, &b.Last, unlessEmpty(audit.RunOf(b.Origin))
	}
	if has := ended > 0; bad == nil && b.Whole && j.Run != nil {
		j.Ended = &has
	}
	for _, w := range b.Witnesses {
		j.Witnesses = append(j.Witnesses, witnessingJSON{b.Size, w.Key.Witness(), w.Time})
	}
	if asJSON {
		err = printJSON(app.Out, j)
	} else {
		err = printBundle(app.Out, file, b, bad, j)
	}
	if err == nil && bad != nil {
		return &exitError{code: codeFailure, hint: unknownHint(bad)}
	}
	return err
}

func unknownHint(err error) string {
	if errors.Is(err, audit.ErrUnknownKey) {
		return `give the key of the machine that it came from: --key and what "moat audit key" prints there`
	}
	return ""
}

func printBundle(w io.Writer, file string, b audit.Bundle, bad error, j bundleJSON) error {
	out := &lineWriter{w: w}
	if bad != nil {
		out.printf("%s: NOT GENUINE\n  PROBLEM  %s\n", file, visible(bad.Error()))
		if hint := unknownHint(bad); hint != "" {
			out.printf("  %s\n", hint)
		}
		return out.err
	}
	out.printf("%s: genuine\n  entries %d to %d of %d, of %s\n  root %s, by %s\n", file, b.First, b.Last, b.Size, b.Origin, b.Root, b.By)
	for _, x := range b.Witnesses {
		out.printf("  seen by %s at %s\n", x.Key.Name, stamp(x.Time))
	}
	for _, name := range b.Unknown {
		out.printf("  cosigned by %s, which is not known here: that means nothing\n", name)
	}
	if j.Ended != nil && !*j.Ended {
		out.printf("  note     the run had not ended when this was signed\n")
	}
	return out.err
}

// knownKeys are those that were given, and those that are known here. Where there is no home there are none.
func (app *App) knownKeys(c *cobra.Command, texts []string) ([]audit.Key, error) {
	var keys []audit.Key
	for _, text := range texts {
		key, err := audit.ParseKey(text)
		if err != nil {
			return nil, usagef(c, "--key %s: %v", text, err)
		}
		keys = append(keys, key)
	}
	home, err := app.openHome()
	var unusable *run.HomeError
	if errors.As(err, &unusable) {
		return keys, nil
	}
	if err != nil {
		return nil, err
	}
	known, err := ledger.OpenMachine(home.Path()).Keys()
	if err != nil {
		return nil, err
	}
	return append(keys, known.All()...), nil
}
