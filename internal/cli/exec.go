package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/run"
)

type execOptions struct {
	interactive bool
	env         []string
	dir         string
}

func (app *App) execCommand() *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use:   "exec [-i] [-e KEY[=VALUE]] [-w DIR] <run> -- command…",
		Short: "Run another command in the sandbox of a run",
		Long: `Run another command in the sandbox of a run, as its command's user and with its environment, and exit with its code.
Signals are passed on to it, and it is hung up when this client goes away. Flags come before the run.`,
		Example: `  moat exec tests -- ps aux
  echo hello | moat exec -i tests -- tee note`,
		ValidArgsFunction: app.completeOneRun(true, cobra.ShellCompDirectiveDefault),
		RunE:              func(c *cobra.Command, args []string) error { return app.exec(c, &o, args) },
	}
	c.Flags().BoolVarP(&o.interactive, "interactive", "i", false, "forward standard input")
	c.Flags().StringArrayVarP(&o.env, "env", "e", nil, "set `KEY=VALUE`, or pass KEY on (repeat)")
	c.Flags().StringVarP(&o.dir, "workdir", "w", "", "start in `DIR`, inside")
	c.Flags().SetInterspersed(false)
	return c
}

func (app *App) exec(c *cobra.Command, o *execOptions, args []string) error {
	if len(args) < 2 {
		return usagef(c, "write a run and a command: moat exec RUN -- COMMAND")
	}
	ref, command := args[0], args[1:]
	switch {
	case command[0] == "--":
		command = command[1:]
	case strings.HasPrefix(command[0], "-"):
		return usagef(c, "%s: flags come before the run, and the command after \"--\"", command[0])
	}
	if len(command) == 0 {
		return usagef(c, `there is no command after "--"`)
	}
	req := api.Exec{Args: command, Dir: o.dir, Stdin: o.interactive}
	for _, text := range o.env {
		v, err := config.ParseEnv(text, app.Env)
		if err != nil {
			return usageError(c, fmt.Errorf("--env %w", err))
		}
		req.Env = append(req.Env, v.Name+"="+v.Value)
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.settled(c.Context(), home, ref)
	if err != nil {
		return err
	}
	if run.Ask(run.VerbExec, rec.State).Answer == run.Refused {
		return &run.StateError{Verb: run.VerbExec, Record: rec}
	}
	e := &execution{app: app}
	if o.interactive && app.stdin() != plan.StdinNone {
		e.input = newInput(app.In)
		req.Source = e.input.source
	}
	client := api.NewClient(home.Dir(rec.ID))
	defer client.Close()
	stream, err := client.Exec(c.Context(), req)
	if err != nil {
		return &exitError{code: codeNotStarted, err: fmt.Errorf("exec in %s: %w", rec.Name, err)}
	}
	defer stream.Close()
	return e.serve(c.Context(), stream)
}

// execution is a client of one exec'ed command. Signals belong to it while it lives: they are passed on.
type execution struct {
	app   *App
	input *input
}

// errEnded says that the command ended with exit code 0.
var errEnded = errors.New("the command ended")

func (e *execution) serve(ctx context.Context, stream *api.Stream) error {
	done := make(chan struct{})
	defer close(done)
	signals, release := ownSignals()
	defer release()
	go forwardSignals(stream, signals, done)
	for {
		kind, payload, err := stream.Next()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &exitError{code: codeNotStarted, err: errors.New("the connection to the run's supervisor broke, and the command was hung up")}
		}
		if err := e.receive(kind, payload, stream, done); errors.Is(err, errEnded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (e *execution) receive(kind byte, payload []byte, stream *api.Stream, done <-chan struct{}) error {
	switch kind {
	case api.KindStarted:
		if e.input != nil {
			go e.input.sendTo(stream, done)
		}
	case api.KindOutput:
		out, err := api.ParseOutput(payload)
		if err != nil {
			return err
		}
		w := e.app.Out
		if out.Stream == line.Stderr {
			w = e.app.Err
		}
		if _, err := w.Write(out.Data); err != nil {
			return fmt.Errorf("print output: %w", err)
		}
	case api.KindInputDone:
		taken, err := api.ParseInputDone(payload)
		if err == nil && e.input != nil {
			e.input.taken(taken)
		}
		return err
	case api.KindExit:
		end, err := api.Decode[api.Exit](payload)
		if err != nil {
			return err
		}
		if end.Code == 0 {
			return errEnded
		}
		return &exitError{code: end.Code}
	case api.KindFailed:
		failed, err := api.Decode[api.Failed](payload)
		if err != nil {
			return err
		}
		return &exitError{code: failed.Code, err: errors.New(failed.Error)}
	case api.KindGone:
		gone, err := api.Decode[api.Gone](payload)
		return errors.Join(&exitError{code: codeNotStarted, err: errors.New(gone.Reason)}, err)
	}
	return nil
}

// forwardSignals passes signals on to the command until done is closed.
func forwardSignals(stream *api.Stream, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case sig := <-signals:
			number, ok := sig.(syscall.Signal)
			if ok && stream.Send(api.KindSignal, api.Encode(api.Signal{Signal: int(number)})) != nil {
				return // the one who receives notices
			}
		case <-done:
			return
		}
	}
}
