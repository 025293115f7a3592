package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/config"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/sandbox"
)

type runOptions struct {
	name, runtime, image string
	workDir              string
	interactive, tty     optionalBool
	detach, dryRun       bool
	rebuild              bool
	approve, auditInput  bool
	env, mounts, grants  []string
	memory, cpus, pids   string
}

func (app *App) runCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run [path] [flags] [-- command…]",
		Short: "Start a command in a sealed sandbox and attach to it",
		Long: `Start a command in a sealed sandbox, with path (default: the current directory) as /workspace, and attach to its
output. Without a command the one in agent.yaml is run. Flags come before the "--".

The run does not depend on this terminal. Ctrl+C detaches once the time for a second one has passed: a second one
within it (1s; MOAT_STOP_WINDOW, or detach.stop_window in config.yaml) stops the run instead, and moat exits with the
command's code. SIGTERM and SIGHUP detach at once. Interrupted before the command has started, nothing is left.`,
		Example: `  moat run -- make test
  moat run ./project -d --name tests -- npm test
  echo hello | moat run -i -- cat`,
		RunE: func(c *cobra.Command, args []string) error { return app.run(c, &o, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.name, "name", "n", "", "`NAME` of the run (default: a made-up one)")
	f.StringVar(&o.image, "image", "", "run in the OCI image `REF` instead of the host's system directories")
	f.StringVarP(&o.workDir, "workdir", "w", "", "start the command in `DIR` of the sandbox (default: the image's, or /workspace)")
	f.StringVar(&o.runtime, "runtime", "", "what makes the sandbox: `native`, docker or apple")
	f.VarPF(&o.interactive, "interactive", "i", "forward standard input").NoOptDefVal = "true"
	f.VarPF(&o.tty, "tty", "t", "give the command a terminal").NoOptDefVal = "true"
	f.BoolVar(&o.rebuild, "rebuild", false, "get the image anew, though it is there")
	f.BoolVarP(&o.detach, "detach", "d", false, "start it, print its id and return")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and do nothing")
	f.BoolVar(&o.approve, "approve", false, "accept what agent.yaml asks for (see moat approve)")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `KEY=VALUE`, or pass KEY on (repeat)")
	f.StringArrayVarP(&o.mounts, "mount", "m", nil, "make SRC visible at DST: `SRC:DST[:ro]` (repeat)")
	f.StringArrayVar(&o.grants, "grant", nil, "let the run use the stored credential `NAME` (repeat)")
	f.BoolVar(&o.auditInput, "audit-input", false, "enter digests of what is typed in the audit record")
	f.StringVar(&o.memory, "memory", "", "most memory, such as `2g`")
	f.StringVar(&o.cpus, "cpus", "", "most CPUs, such as `1.5`")
	f.StringVar(&o.pids, "pids", "", "most processes and threads, such as `512`")
	return c
}

// splitRun parts "path -- command…".
func splitRun(c *cobra.Command, args []string) (path string, command []string, err error) {
	before := args
	if dash := c.ArgsLenAtDash(); dash >= 0 {
		before, command = args[:dash], args[dash:]
		if err := checkCommand(c, command); err != nil {
			return "", nil, err
		}
	}
	if len(before) > 1 {
		return "", nil, usagef(c, `%q: only one path can be given; a command comes after "--": moat run -- %s`, before[1], strings.Join(before, " "))
	}
	return slices.Concat(before, []string{"."})[0], command, nil
}

// checkCommand checks what comes after "--".
func checkCommand(c *cobra.Command, command []string) error {
	switch {
	case len(command) == 0:
		return usagef(c, `there is no command after "--"`)
	case command[0] == "":
		return usagef(c, `the command after "--" is empty`)
	}
	return nil
}

func (app *App) run(c *cobra.Command, o *runOptions, args []string) error {
	path, command, err := splitRun(c, args)
	if err != nil {
		return err
	}
	asked, err := o.parse(app, c, path, command)
	if err != nil {
		return err
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	s := &attachment{app: app}
	if !o.dryRun {
		release, err := s.prepare(home)
		if err != nil {
			return err
		}
		defer release()
	}
	global, err := config.LoadGlobal(home.Path())
	if err != nil {
		return err
	}
	agent, err := app.agent(asked.Workspace)
	if err != nil {
		return err
	}
	facts, err := app.facts(asked.Workspace, home, agent, chosenRuntime(asked, agent, global))
	if err != nil {
		return err
	}
	p, env, err := plan.Make(asked, agent, global, facts)
	if errors.Is(err, plan.ErrNoCommand) {
		return nothingToRun(asked.Workspace)
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return app.printPlan(c, p)
	}
	said, err := app.approved(o.approve)
	if err == nil {
		err = app.consent(s, home, asked.Workspace, agent, global, said)
	}
	if err != nil {
		return err
	}
	if err := app.checkGrants(c.Context(), p.Grants); err != nil {
		return err
	}
	window, err := app.stopWindow(global)
	if err != nil {
		return err
	}
	if err := app.known(p.Runtime); err != nil {
		return err
	}
	if p.Image != "" {
		if facts.Image, err = app.fetchImage(c.Context(), s, plan.Fetch{
			Runtime: p.Runtime, Home: home.Path(), Ref: p.Image, CAFiles: p.Network.CAFiles, Anew: o.rebuild,
		}); err != nil {
			return err
		}
		ref := p.Image
		if p, env, err = plan.Make(asked, agent, global, facts); err != nil {
			return imageRunsNothing(ref, err)
		}
	}
	app.hintShell(p)
	keys, err := app.detachKeys(global)
	if err != nil {
		return err
	}
	start := &api.Start{Env: env, Size: app.size(), Watched: !o.detach}
	if proxy := global.Egress.UpstreamProxy; proxy != nil {
		start.UpstreamProxy = proxy.String()
	}
	if slices.ContainsFunc(p.Grants, func(name string) bool { return strings.HasPrefix(name, "ssh:") }) {
		start.AgentSocket = app.getenv("SSH_AUTH_SOCK")
	}
	s.home, s.window = home, window
	s.manner = manner{forward: p.Stdin, allow: rights(global), keys: keys}
	return app.launch(c.Context(), s, api.Launch{Plan: &p, Start: start}, o.detach)
}

// parse checks the flags.
func (o *runOptions) parse(app *App, c *cobra.Command, path string, command []string) (plan.Asked, error) {
	asked := plan.Asked{Grants: o.grants, AuditInput: o.auditInput, Name: o.name, Command: command, Interactive: o.interactive.value, TTY: o.tty.value}
	var err error
	if asked.Workspace, err = workspace(path); err != nil {
		return asked, usageError(c, err)
	}
	if asked.Runtime, err = app.runtimeName(o.runtime); err != nil {
		return asked, usageError(c, err)
	}
	if c.Flags().Changed("image") {
		if asked.Image, err = config.ParseImage(o.image); err != nil {
			return asked, usageError(c, fmt.Errorf("--image %w", err))
		}
	}
	if c.Flags().Changed("workdir") {
		if asked.WorkDir, err = config.ParseWorkDir(o.workDir); err != nil {
			return asked, usageError(c, fmt.Errorf("--workdir: %w", err))
		}
	}
	if c.Flags().Changed("name") {
		if err := run.CheckName(o.name); err != nil {
			return asked, usageError(c, err)
		}
	}
	for _, text := range o.env {
		v, err := config.ParseEnv(text, app.Env)
		if errors.Is(err, config.ErrNotSet) {
			app.say("%v: it is left out", err)
			continue
		}
		if err != nil {
			return asked, usageError(c, fmt.Errorf("--env %w", err))
		}
		asked.Env = append(asked.Env, v)
	}
	for _, text := range o.mounts {
		m, err := config.ParseMount(text)
		if err != nil {
			return asked, usageError(c, fmt.Errorf("--mount %w", err))
		}
		asked.Mounts = append(asked.Mounts, m)
	}
	if asked.Limits, err = config.ParseLimits(o.memory, o.cpus, o.pids); err != nil {
		return asked, usageError(c, err)
	}
	return asked, nil
}

// workspace is the folder that becomes /workspace: absolute and without links, so that it stays the one that was meant.
func workspace(path string) (string, error) {
	if path == "" { // such as "$UNSET"; the current directory is not what was meant
		return "", errors.New("the path of the workspace is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("workspace: %w", err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf(`workspace %s does not exist (a command comes after "--": moat run -- COMMAND)`, abs)
	}
	if err != nil {
		return "", fmt.Errorf("workspace: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("workspace: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("workspace %s is not a folder", abs)
	}
	return real, nil
}

// nothingToRun says what to write.
func nothingToRun(workspace string) error {
	return &exitError{
		code: codeUsage,
		err:  fmt.Errorf("nothing to run: no command was given, and there is none in %s", filepath.Join(workspace, config.AgentFile)),
		hint: "type the command:   moat run -- COMMAND\nor write it into " + config.AgentFile + ":\n  command: [make, test]",
	}
}

func (app *App) printPlan(c *cobra.Command, p plan.Plan) error {
	_, err := fmt.Fprint(app.Out, p.Text())
	return err
}

// known checks that there is such a runtime on this system at all: whether it works is seen when it is used.
func (app *App) known(name string) error {
	runtimes := slices.Sorted(maps.Keys(app.Runtimes()))
	switch {
	case slices.Contains(runtimes, name):
		return nil
	case len(runtimes) == 0:
		return &exitError{code: codeNotStarted, err: errors.New("there is no runtime for this system yet: sandboxes need Linux or macOS")}
	}
	return &exitError{
		code: codeNotStarted,
		err:  fmt.Errorf("there is no runtime %q on this system, only %s", name, strings.Join(runtimes, ", ")),
		hint: "\"moat doctor\" looks at all runtimes",
	}
}

// hintShell tells who starts a bare shell without a terminal how to get one.
func (app *App) hintShell(p plan.Plan) {
	shells := []string{"bash", "sh", "zsh", "fish", "dash", "ksh"}
	if terminalWriter(app.Err) && !p.Interactive && len(p.Command) == 1 && slices.Contains(shells, filepath.Base(p.Command[0])) {
		app.say("a shell without input ends at once; for an interactive one: moat run -it -- %s", shellWord(p.Command[0]))
	}
}

// prepare starts the run's supervisor, which takes as long as finding out what the run is to be, and takes the signals: from
// here on to the end of the session none falls in between. The caller releases both.
func (s *attachment) prepare(home *run.Home) (release func(), err error) {
	signals, giveBack := ownSignals()
	if s.launcher, err = s.app.prepareLaunch(home, run.NewID()); err != nil {
		giveBack()
		return nil, &exitError{code: codeNotStarted, err: err}
	}
	s.signals = signals
	return func() {
		s.launcher.close()
		giveBack()
	}, nil
}

// launch starts the run of a prepared attachment and, unless it is to be detached, attaches to it.
func (app *App) launch(ctx context.Context, s *attachment, l api.Launch, detach bool) error {
	ready, err := app.begin(ctx, s, l)
	if err != nil {
		return app.explain(ctx, s.home, l, err)
	}
	for _, warning := range ready.Warnings {
		app.say("%s", plain(warning))
	}
	if detach {
		_, err := fmt.Fprintln(app.Out, ready.ID)
		return err
	}
	s.id, s.name = ready.ID, ready.Name
	if terminalWriter(app.Err) && !l.Plan.TTY {
		app.say("run %s (%s). Ctrl+C detaches, twice within %v stops it", ready.Name, ready.ID, s.window)
	}
	return s.attachTo(ctx, *l.Plan)
}

// begin starts the run and waits until it runs. Ctrl+C meanwhile leaves no run and ends with 130; another one leaves
// without waiting for that. SIGTERM and SIGHUP detach, as soon as there is something to detach from.
func (app *App) begin(ctx context.Context, s *attachment, l api.Launch) (api.Ready, error) {
	var ready api.Ready
	var err error
	started := make(chan struct{})
	go func() {
		ready, err = s.launcher.launch(ctx, l)
		close(started)
	}()
	var leave os.Signal
	interrupted := false
	for {
		select {
		case sig := <-s.signals:
			switch {
			case sig != os.Interrupt:
				leave = sig
			case interrupted:
				return api.Ready{}, &exitError{code: codeInterrupted, err: errors.New("interrupted while the run was starting; it may be there"), hint: "moat list"}
			default:
				interrupted = true
				app.say("interrupted: the run will be removed as soon as it has started. Ctrl+C once more does not wait for that")
			}
		case <-started:
			if interrupted {
				return api.Ready{}, app.undo(ctx, s.home, ready)
			}
			if leave != nil {
				select {
				case s.signals <- leave: // for the session, which is about to begin
				default: // it finds others there
				}
			}
			return ready, err
		}
	}
}

// explain finds the typed error behind a start that failed elsewhere, where it is still to be seen: it has a hint.
func (app *App) explain(ctx context.Context, home *run.Home, l api.Launch, err error) error {
	if exitCode(err) != codeNotStarted {
		return err
	}
	if holder, getErr := home.Get(l.Plan.Name); l.Plan.Name != "" && getErr == nil && holder.State.Live() {
		return &run.NameTakenError{Name: l.Plan.Name, Holder: holder.ID}
	}
	if runtime, ok := app.Runtimes()[l.Plan.Runtime]; ok {
		var unavailable *sandbox.Unavailable
		if errors.As(runtime.Check(ctx), &unavailable) {
			return unavailable
		}
	}
	return err
}

// undo ends and removes a run that was interrupted while it was starting.
func (app *App) undo(ctx context.Context, home *run.Home, ready api.Ready) error {
	if ready.ID != "" {
		err := app.stopRun(ctx, home, run.Record{ID: ready.ID, State: run.State(ready.State)}, 0)
		if err == nil {
			err = app.remove(ctx, home, ready.ID)
		}
		if err != nil {
			return fmt.Errorf("remove the interrupted run: %w", err)
		}
	}
	return &exitError{code: codeInterrupted, err: errors.New("interrupted before the run had started; nothing is left of it")}
}
