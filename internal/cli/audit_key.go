package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/run"
)

func (app *App) auditKeyCommand() *cobra.Command {
	var rotate, asJSON bool
	var trust []string
	c := &cobra.Command{
		Use:   "key [--rotate] [--trust KEY]… [--json]",
		Short: "Show the public key of this machine, or add another machine's",
		Long: `Show the public key with which this machine signs the records of its runs, and makes it if there is none yet. Whoever
verifies them elsewhere wants it from you, by another way than the records. Both lines are the same key: as that of a log, and as that of a witness.

With --rotate there is a new key from now on; what the old one has signed still verifies. With --trust another machine's key is known
here: as that of a witness, and for bundles from there.`,
		Example: `  moat audit key
  moat audit key --trust moat/5b0c2f6a1d3e4f90+1a2b3c4d+AUxQ…`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return app.auditKey(c, rotate, trust, asJSON) },
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "make a new key")
	c.Flags().StringArrayVar(&trust, "trust", nil, "a `KEY` of another machine that is known from now on; may be given more than once")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (app *App) auditKey(c *cobra.Command, rotate bool, trust []string, asJSON bool) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	machine := ledger.OpenMachine(home.Path())
	for _, text := range trust {
		key, err := audit.ParseKey(text)
		if err != nil {
			return usagef(c, "--trust %s: %v", text, err)
		}
		if err := makeHome(home); err != nil {
			return err
		}
		if err := machine.Trust(key); err != nil {
			return fmt.Errorf("trust a key: %w", err)
		}
	}
	signer, err := app.signer(c.Context(), home)
	if err != nil {
		return err
	}
	if rotate {
		if signer, err = machine.Rotate(c.Context(), app.Keyring); err != nil {
			return fmt.Errorf("make a new key: %w", err)
		}
	}
	keys, err := machine.Keys()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(app.Out, keysOf(signer, keys))
	}
	out := &lineWriter{w: app.Out}
	out.printf("log      %s\nwitness  %s\n", signer, signer.Witness())
	for _, key := range keys.Own {
		if !key.Equal(signer.Key) {
			out.printf("former   %s\n", key)
		}
	}
	for _, key := range keys.Trusted {
		out.printf("trusted  %s\n", key)
	}
	return out.err
}

type keysJSON struct {
	Log     string   `json:"log"`
	Witness string   `json:"witness"`
	Former  []string `json:"former"`
	Trusted []string `json:"trusted"`
}

func keysOf(signer *audit.Signer, keys ledger.Keys) keysJSON {
	j := keysJSON{Log: signer.String(), Witness: signer.Witness(), Former: []string{}, Trusted: []string{}}
	for _, key := range keys.Own {
		if !key.Equal(signer.Key) {
			j.Former = append(j.Former, key.String())
		}
	}
	for _, key := range keys.Trusted {
		j.Trusted = append(j.Trusted, key.String())
	}
	return j
}

// makeHome makes the home where there is none.
func makeHome(home *run.Home) error {
	if err := os.MkdirAll(home.Path(), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", home.Path(), err)
	}
	return nil
}

// signer is this machine's key, which is made and entered if there is none.
func (app *App) signer(ctx context.Context, home *run.Home) (*audit.Signer, error) {
	if err := makeHome(home); err != nil {
		return nil, err
	}
	signer, kept, err := ledger.OpenMachine(home.Path()).Signer(ctx, app.Keyring)
	if err != nil {
		return nil, err
	}
	if kept != nil && kept.File != "" {
		app.say("a key that signs audit records was made; it is in %s, because the system's keyring cannot keep it: %v", kept.File, kept.Why)
	}
	return signer, nil
}

func (app *App) auditWitnessCommand() *cobra.Command {
	var add, seen string
	c := &cobra.Command{
		Use:   "witness [--key KEY] BUNDLE | witness --add NOTE",
		Short: "Cosign what another machine's record is now, or keep a cosignature",
		Long: `Verify a bundle of another machine, which must be whole, and print its newest checkpoint with this machine's signature and the time: that
the record was so, now. Nothing is cosigned that does not continue what this machine has cosigned of that record before. The key of the other
machine must be known here ("moat audit key --trust"), or be given.

With --add, on the machine that the bundle is from, a checkpoint that was cosigned is kept: "moat audit" shows from then on who has seen the
record, and when, and finds out if it is ever put back to before.`,
		Example: `  there$ moat audit witness tests.bundle > tests.note
  here$  moat audit witness --add tests.note`,
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (add != "") || len(args) > 1 {
				return usagef(c, "name a bundle, or a checkpoint with --add")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if add != "" {
				return app.addSeen(c, add)
			}
			var keys []string
			if seen != "" {
				keys = append(keys, seen)
			}
			return app.witness(c, args[0], keys)
		},
	}
	c.Flags().StringVar(&add, "add", "", "keep the cosigned checkpoint in `NOTE`")
	c.Flags().StringVar(&seen, "key", "", "the other machine's public `KEY`")
	return c
}

// witness cosigns the checkpoint of a bundle.
func (app *App) witness(c *cobra.Command, file string, texts []string) error {
	keys, err := app.knownKeys(c, texts)
	if err != nil {
		return err
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	signer, err := app.signer(c.Context(), home)
	if err != nil {
		return err
	}
	machine := ledger.OpenMachine(home.Path())
	data, err := os.ReadFile(file)
	if err != nil {
		return &exitError{code: codeUsage, err: err}
	}
	b, err := audit.VerifyBundle(bytes.NewReader(data), keys, nil)
	if err != nil {
		return &exitError{code: codeFailure, err: fmt.Errorf("%s: %w", file, err), hint: unknownHint(err)}
	}
	if !b.Whole {
		return fmt.Errorf("%s has only some entries: a witness wants a whole bundle", file)
	}
	if err := continues(machine, b, data, append(keys, signer.Key)); err != nil {
		return fmt.Errorf("%s is not cosigned: %w", file, err)
	}
	note, err := signer.Cosign(b.Note, time.Now())
	if err != nil {
		return err
	}
	signed, err := audit.Open(note, append(keys, signer.Key))
	if err != nil {
		return err
	}
	if err := machine.KeepSeen(signed); err != nil {
		return fmt.Errorf("remember what was cosigned: %w", err)
	}
	_, err = app.Out.Write(note)
	return err
}

// continues reports an error if a bundle does not continue what was cosigned of its log.
func continues(machine *ledger.Machine, b audit.Bundle, data []byte, keys []audit.Key) error {
	seen, err := machine.Seen(b.Origin, keys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.Size < seen.Size {
		return fmt.Errorf("it has %d entries, and %d were seen before: it was put back", b.Size, seen.Size)
	}
	root, err := audit.RootAt(bytes.NewReader(data), seen.Size)
	if err != nil {
		return err
	}
	if root != seen.Root {
		return fmt.Errorf("its first %d entries are not those that were seen before: it was rewritten", seen.Size)
	}
	return nil
}

// addSeen keeps a cosigned checkpoint of one of this machine's records.
func (app *App) addSeen(c *cobra.Command, file string) error {
	home, err := app.openHome()
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return &exitError{code: codeUsage, err: err}
	}
	defer f.Close()
	note, err := io.ReadAll(io.LimitReader(f, audit.MaxNote+1))
	if err != nil {
		return err
	}
	machine := ledger.OpenMachine(home.Path())
	keys, err := machine.Keys()
	if err != nil {
		return err
	}
	signed, err := audit.Open(note, keys.All())
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", file, err)
	case !keys.Owns(signed.By):
		return fmt.Errorf("%s is about a record of another machine", file)
	case len(signed.Witnesses) == 0:
		return &exitError{code: codeFailure, err: fmt.Errorf("no witness that is known has signed %s", file),
			hint: `add the key of the witness: moat audit key --trust and what "moat audit key" prints there`}
	}
	if seen, err := machine.Seen(signed.Origin, keys.All()); err == nil && seen.Size > signed.Size {
		return fmt.Errorf("a witness has seen %d entries already, and this is about %d", seen.Size, signed.Size)
	}
	if err := machine.KeepSeen(signed); err != nil {
		return err
	}
	w := signed.Witnesses[0]
	app.say("kept: %s saw %d entries of %s at %s", w.Key.Name, signed.Size, signed.Origin, stamp(w.Time))
	return nil
}
