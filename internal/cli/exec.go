package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/term"
)

type execOptions struct {
	interactive bool
	tty         optionalBool
	env         []string
	dir         string
}

func (app *App) execCommand() *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use:   "exec [-it] [-e KEY[=VALUE]] [-w DIR] <run> -- command…",
		Short: "Run another command in the sandbox of a run",
		Long: `Run another command in the sandbox of a run, as its command's user and with its environment, and exit with its code.
Signals are passed on to it, and it is hung up when this client goes away, or with the keys that detach from a run.
Flags come before the run.`,
		Example: `  moat exec -it tests -- bash
  moat exec tests -- ps aux
  echo hello | moat exec -i tests -- tee note`,
		ValidArgsFunction: app.completeOneRun(true, cobra.ShellCompDirectiveDefault),
		RunE:              func(c *cobra.Command, args []string) error { return app.exec(c, &o, args) },
	}
	c.Flags().BoolVarP(&o.interactive, "interactive", "i", false, "forward standard input")
	c.Flags().VarPF(&o.tty, "tty", "t", "give it a terminal (default with -i on a terminal)").NoOptDefVal = "true"
	c.Flags().StringArrayVarP(&o.env, "env", "e", nil, "set `KEY=VALUE`, or pass KEY on (repeat)")
	c.Flags().StringVarP(&o.dir, "workdir", "w", "", "start in `DIR` in the sandbox (default and base: /workspace)")
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
	if err := checkCommand(c, command); err != nil {
		return err
	}
	req, err := app.execRequest(c, o, command)
	if err != nil {
		return err
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
	if o.dir != "" {
		req.Dir = inside(o.dir, rec.Plan.WorkDir)
	}
	e := &execution{app: app}
	err = e.equip(c.Context(), home, o, &req)
	if e.screen != nil {
		defer e.screen.tty.RestoreOnPanic()
	}
	if err == nil {
		err = e.start(c.Context(), home, rec, req)
	}
	if e.screen != nil {
		err = cmp.Or(err, e.screen.end(true), e.screen.close())
		app.raw.Store(nil)
	}
	return err
}

// execRequest is what the flags ask for.
func (app *App) execRequest(c *cobra.Command, o *execOptions, command []string) (api.Exec, error) {
	req := api.Exec{Args: command, Stdin: o.interactive}
	req.TTY = o.interactive && app.stdin() == plan.StdinTerminal
	if o.tty.value != nil {
		req.TTY = *o.tty.value
	}
	if req.TTY {
		for name, value := range app.ttyEnv() {
			req.Env = append(req.Env, name+"="+value)
		}
	}
	for _, text := range o.env {
		v, err := config.ParseEnv(text, app.Env)
		if err != nil {
			return req, usageError(c, fmt.Errorf("--env %w", err))
		}
		req.Env = append(req.Env, v.Name+"="+v.Value)
	}
	return req, nil
}

// equip gives the command what it needs of the person.
func (e *execution) equip(ctx context.Context, home *run.Home, o *execOptions, req *api.Exec) (err error) {
	global, err := config.LoadGlobal(home.Path())
	if err != nil {
		return err
	}
	if req.TTY {
		if e.screen, err = e.app.openScreen(true, rights(global)); err != nil {
			return err
		}
	}
	if e.screen != nil {
		req.Size = e.screen.measure()
		e.screen.lead(true)
	}
	if !o.interactive || e.app.stdin() == plan.StdinNone {
		return nil
	}
	if e.screen == nil {
		e.input = newInput(e.app.In)
	} else if err := e.takeKeyboard(ctx, global); err != nil {
		return err
	}
	req.Source = e.input.source
	return nil
}

// takeKeyboard forwards what the person types, but for the keys that detach from a run: they leave the command.
func (e *execution) takeKeyboard(ctx context.Context, global *config.Global) error {
	keys, err := e.app.detachKeys(global)
	if err != nil {
		return err
	}
	e.left = make(chan struct{})
	e.input, err = e.app.takeKeyboard(e.screen, keys, func(term.Action) { close(e.left); <-ctx.Done() })
	return err
}

// start starts the command and serves it to its end.
func (e *execution) start(ctx context.Context, home *run.Home, rec run.Record, req api.Exec) error {
	client := api.NewClient(home.Dir(rec.ID))
	defer client.Close()
	stream, err := client.Exec(ctx, req)
	var r retries
	for end := time.Now().Add(execPatience); errors.Is(err, api.ErrUnreachable) && time.Now().Before(end); {
		if rec, err = e.app.settled(ctx, home, rec.ID); err != nil {
			return err
		}
		if run.Ask(run.VerbExec, rec.State).Answer == run.Refused {
			return &run.StateError{Verb: run.VerbExec, Record: rec}
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
		stream, err = client.Exec(ctx, req)
	}
	if err != nil {
		return &exitError{code: codeNotStarted, err: fmt.Errorf("exec in %s: %w", rec.Name, err)}
	}
	defer stream.Close()
	return e.serve(ctx, stream)
}

// execPatience is how long exec waits for a supervisor that is being replaced.
const execPatience = 10 * time.Second

// inside makes a path in the sandbox absolute. It has slashes, whatever this system has.
func inside(dir, base string) string {
	if path.IsAbs(dir) {
		return dir
	}
	return path.Join(base, dir)
}

// execution is a client of one exec'ed command. Signals belong to it while it lives: they are passed on.
type execution struct {
	app    *App
	input  *input
	screen *screen       // the person's terminal, if the command has one
	left   chan struct{} // closed when the person typed the keys to leave; nil if they cannot
}

// codeHungUp is the exit code of a command that the person left: as if SIGHUP had ended it, which it is sent.
const codeHungUp = 129

// errEnded says that the command ended with exit code 0.
var errEnded = errors.New("the command ended")

func (e *execution) serve(ctx context.Context, stream *api.Stream) error {
	open, closed := context.WithCancel(ctx)
	defer closed()
	signals, release := ownSignals()
	defer release()
	go forwardSignals(open, stream, signals)
	if e.screen != nil {
		go e.screen.sendSizes(open, stream)
	}
	go func() {
		select {
		case <-e.left:
			stream.Close()
		case <-open.Done():
		}
	}()
	for {
		kind, payload, err := stream.Next()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			select {
			case <-e.left:
				return &exitError{code: codeHungUp}
			default:
			}
			return &exitError{code: codeNotStarted, err: errors.New("the connection to the run's supervisor broke, and the command was hung up")}
		}
		if err := e.receive(open, kind, payload, stream); errors.Is(err, errEnded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (e *execution) receive(open context.Context, kind byte, payload []byte, stream *api.Stream) error {
	switch kind {
	case api.KindStarted:
		if e.input != nil {
			go e.input.sendTo(stream, open.Done())
		}
	case api.KindOutput:
		out, err := api.ParseOutput(payload)
		if err != nil {
			return err
		}
		if e.screen != nil {
			return e.screen.show(out.Data)
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

// forwardSignals passes signals on to the command until ctx is done.
func forwardSignals(ctx context.Context, stream *api.Stream, signals <-chan os.Signal) {
	for {
		select {
		case sig := <-signals:
			number, ok := sig.(syscall.Signal)
			if ok && stream.Send(api.KindSignal, api.Encode(api.Signal{Signal: int(number)})) != nil {
				return // the one who receives notices
			}
		case <-ctx.Done():
			return
		}
	}
}
