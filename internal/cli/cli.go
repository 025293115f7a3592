// Package cli is moat's command line: one file a verb, which parses, asks somebody, and prints.
//
// It promises what CLI users may rely on: results on stdout and everything else on stderr, the documented exit codes,
// errors that say what to type next. It is the only package that prints, prompts, reads flags or the environment, or
// decides about the process's exit. What the verbs do is left to the packages below it, so that an API or a test can
// do the same.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/config"
	"moat/internal/sandbox"
)

// App is what a moat command is given from outside.
type App struct {
	Version string
	In      *os.File
	Out     io.Writer
	Err     io.Writer
	Env     func(string) (string, bool) // looks up an environment variable
	Environ func() []string
	Self    string // path of the moat program, to start guards with

	// DefaultRuntime is used when nobody chose one; empty where there is none.
	DefaultRuntime string
	// Tools finds the person's own tools, and the environment that they need inside.
	Tools func(Wanted) ([]sandbox.Tool, map[string]string, error)
	// ToolReports says of every tool home that was looked at whether it is visible inside.
	ToolReports func(Wanted) []ToolReport
	// Runtimes are all that this system may have.
	Runtimes func() map[string]sandbox.Runtime

	quiet bool
}

// Main runs one command line and returns the exit code.
func Main(ctx context.Context, app *App, args []string) int {
	root := app.root()
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
		Use:           "moat",
		Short:         "Run AI coding agents in sealed sandboxes that nothing can interrupt",
		Version:       app.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVarP(&app.quiet, "quiet", "q", false, "say nothing but results and errors")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError(c, err) })
	root.AddGroup(&cobra.Group{ID: "runs", Title: "Runs:"}, &cobra.Group{ID: "moat", Title: "moat itself:"})
	root.SetHelpCommandGroupID("moat")
	root.SetCompletionCommandGroupID("moat")
	for _, c := range []*cobra.Command{
		app.runCommand(), app.attachCommand(), app.execCommand(), app.logsCommand(), app.listCommand(),
		app.stopCommand(), app.waitCommand(), app.destroyCommand(),
	} {
		c.GroupID = "runs"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{app.cleanCommand(), app.doctorCommand(), app.versionCommand()} {
		c.GroupID = "moat"
		root.AddCommand(c)
	}
	return root
}

// say prints a remark for the person: progress, hints, warnings. Nothing depends on it.
func (app *App) say(format string, args ...any) {
	if !app.quiet {
		fmt.Fprintf(app.Err, "moat: "+format+"\n", args...)
	}
}

// report prints an error, and what to do about it.
func (app *App) report(err error) {
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.err == nil {
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
