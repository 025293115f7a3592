// Package cli is moat's command line: one file a verb, which parses, asks somebody, and prints.
//
// It promises what CLI users may rely on: results on stdout and everything else on stderr, the documented exit codes,
// errors that say what to type next. It is the only package that prints, prompts, reads flags or the environment, or
// decides about the process's exit. What the verbs do is left to the packages below it, so that an API or a test can
// do the same.
package cli

//go:generate go test -run=TestCommandPages -update .

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"moat/internal/config"
	"moat/internal/image"
	"moat/internal/plan"
	"moat/internal/sandbox"
	"moat/internal/secret"
)

// App is what a moat command is given from outside.
type App struct {
	Version string
	In      *os.File
	Out     io.Writer
	Err     io.Writer
	Env     func(string) (string, bool) // looks up an environment variable
	Environ func() []string
	Self    string // path of the moat program, to start supervisors with

	// DefaultRuntime is used when nobody chose one; empty where there is none. It may take a moment to find out.
	DefaultRuntime func() string
	// Tools finds the person's own tools, and the environment that they need inside.
	Tools func(Wanted) ([]sandbox.Tool, map[string]string, error)
	// ToolReports says of every tool home that was looked at whether it is visible inside.
	ToolReports func(Wanted) []ToolReport
	// Machine says what decides about sandboxes on this machine, and in the folder that keeps the runs.
	Machine func(home string) []Fact
	// Runtimes are all that this system may have.
	Runtimes func() map[string]sandbox.Runtime
	// FetchImage makes an image ready for a runtime, from where images are, if it is not there yet.
	FetchImage func(context.Context, plan.Fetch) (*plan.Image, error)
	// CleanImages removes images that nothing needs; nil: this system keeps none.
	CleanImages func(ctx context.Context, home string, c image.Cleaning) (image.Cleaned, error)
	// Containers are those that engines keep for moat; none where there is no engine. An error is about engines that could not be
	// asked; what others keep is returned all the same.
	Containers func(context.Context) ([]Container, error)
	// RemoveContainer ends and removes one of them.
	RemoveContainer func(context.Context, Container) error
	// Keyring keeps the key of the credential store; nil: it is kept in a file.
	Keyring secret.Keyring

	quiet bool
	raw   atomic.Pointer[screen] // shows a run's terminal on the person's, which is in raw mode
}

// Main runs one command line and returns the exit code.
func Main(ctx context.Context, app *App, args []string) int {
	root := app.root() //nolint:contextcheck // commands have it from ExecuteContext
	root.SetArgs(args)
	root.SetIn(app.In)
	root.SetOut(app.Out)
	root.SetErr(app.Err)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	app.report(err)
	return code
}

func (app *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "moat",
		Short: "Run AI coding agents in sealed sandboxes that nothing can interrupt",
		Long: `moat runs an AI coding agent, or any command, in a sealed sandbox on your machine. A run does not depend on the terminal
that it was started in: you may leave it and come back.

Exit codes: that of the command for run, attach, exec and wait (128+n if signal n ended it); 0 success, also of leaving
a run that goes on; 1 failure; 2 a mistake on the command line or in a configuration; 125 moat could not start the
command; 126 it cannot be executed; 127 it was not found; 130 interrupted before it had started.

MOAT_HOME is where runs are kept (~/.moat), MOAT_RUNTIME what makes sandboxes, MOAT_STOP_WINDOW the time for a second
Ctrl+C; MOAT_APPROVE=1 accepts what an agent.yaml asks for. A flag wins over the environment, that over agent.yaml in the project, and that over config.yaml in MOAT_HOME.`,
		Example: `  moat run -- make test
  moat run -d --name tests -- npm test
  moat logs -f tests`,
		Version:       app.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetHelpCommand(app.helpCommand())
	root.CompletionOptions.DisableDefaultCmd = true // see completion.go
	root.PersistentFlags().BoolVarP(&app.quiet, "quiet", "q", false, "no hints, progress and warnings; of a list only the ids")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError(c, err) })
	root.AddGroup(&cobra.Group{ID: "runs", Title: "Runs:"}, &cobra.Group{ID: "grants", Title: "Credentials:"}, &cobra.Group{ID: "moat", Title: "moat itself:"})
	root.SetHelpCommandGroupID("moat")
	for _, c := range []*cobra.Command{
		app.runCommand(), app.approveCommand(), app.attachCommand(), app.execCommand(), app.logsCommand(), app.replayCommand(), app.traceCommand(), app.auditCommand(),
		app.listCommand(), app.stopCommand(), app.waitCommand(), app.destroyCommand(), app.policyCommand(), app.verifyBundleCommand(),
	} {
		c.GroupID = "runs"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{app.grantCommand(), app.revokeCommand()} {
		c.GroupID = "grants"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{app.statusCommand(), app.cleanCommand(), app.doctorCommand(), app.completionCommand(), app.versionCommand()} {
		c.GroupID = "moat"
		root.AddCommand(c)
	}
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true // they are written out
	}
	return root
}

// knownCommand refuses what is no command, and says what may have been meant.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := c.SuggestionsFor(args[0])
	if len(near) == 0 {
		return usagef(c, "there is no command %q", args[0])
	}
	return &exitError{
		code: codeUsage,
		err:  fmt.Errorf("there is no command %q", args[0]),
		hint: fmt.Sprintf("did you mean \"moat %s\"?", strings.Join(near, "\" or \"moat ")),
	}
}

// say prints a remark for the person: progress, hints, warnings. Nothing depends on it.
func (app *App) say(format string, args ...any) {
	if app.quiet {
		return
	}
	text := fmt.Sprintf("moat: "+format, args...)
	if sc := app.raw.Load(); sc != nil {
		// In the last row, without moving anything: the run's screen is drawn again sooner or later.
		fmt.Fprintf(app.Err, "\x1b7\x1b[999H\x1b[2K\x1b[7m%s\x1b[m\x1b8", cut(text, max(int(sc.measure().Cols), 20)))
		return
	}
	fmt.Fprintln(app.Err, text)
}

// report prints an error, and what to do about it.
func (app *App) report(err error) {
	if err == nil || isExit(err) {
		return
	}
	text := err.Error()
	var cfg *config.Error
	if errors.As(err, &cfg) {
		text = cfg.Detail()
	}
	fmt.Fprintf(app.Err, "moat: %s\n", strings.TrimSuffix(plain(text), "\n"))
	if hint := hintFor(err); hint != "" {
		for line := range strings.Lines(hint) {
			fmt.Fprintf(app.Err, "  %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// plain makes text that came from somewhere else harmless for a terminal: it keeps lines and drops control characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '\ufffd'
	}, s)
}
