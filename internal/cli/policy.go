package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"moat/internal/api"
	"moat/internal/approval"
	"moat/internal/config"
	"moat/internal/policy"
	"moat/internal/run"
)

func (app *App) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Change what a run may reach",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
		Example: `  moat policy allow tests registry.example.com
  moat policy allow tests "*.example.com:8443"`,
	}
	c.AddCommand(app.policyAllowCommand())
	return c
}

// allowOptions are what "policy allow" was asked to do.
type allowOptions struct {
	save bool
}

func (app *App) policyAllowCommand() *cobra.Command {
	var o allowOptions
	c := &cobra.Command{
		Use:   "allow <run> <host>…",
		Short: "Let a run reach further hosts, for the rest of its life",
		Long: `Let a run reach further hosts, for the rest of its life: a name, *.name, an address or a network, each with or without a
port. Without one it is 80 and 443. With --save it is also added to network.allow in the agent.yaml of the run's project, whose
comments and order stay, so that later runs reach it too.`,
		Example: `  moat policy allow tests registry.example.com
  moat policy allow tests registry.example.com --save`,
		ValidArgsFunction: app.completeOneRun(true, cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(c *cobra.Command, args []string) error { return app.allow(c, args, o) },
	}
	c.Flags().BoolVar(&o.save, "save", false, "add it to agent.yaml, too")
	return c
}

func (app *App) allow(c *cobra.Command, args []string, o allowOptions) error {
	if len(args) < 2 {
		return usagef(c, "write a run and at least one host: moat policy allow RUN HOST")
	}
	for _, text := range args[1:] {
		if _, err := policy.ParsePattern(text); err != nil {
			return usageError(c, err)
		}
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	rec, err := app.settled(c.Context(), home, args[0])
	if err != nil {
		return err
	}
	if rec.State.Final() {
		return &run.StateError{Verb: run.VerbExec, Record: rec}
	}
	client := api.NewClient(home.Dir(rec.ID))
	defer client.Close()
	for _, text := range args[1:] {
		if err := client.Allow(c.Context(), api.Allow{Pattern: text}); err != nil {
			return fmt.Errorf("allow %s: %w", text, err)
		}
	}
	if o.save {
		return app.saveAllowed(home, rec.Plan.Workspace, args[1:])
	}
	return nil
}

// saveAllowed adds patterns to the agent.yaml of a workspace. They were typed by the person, who is not asked about them again;
// about what else the file asks for they are.
func (app *App) saveAllowed(home *run.Home, workspace string, patterns []string) error {
	w := &wishes{home: home.Path(), workspace: workspace}
	accepted, _, err := w.load()
	if errors.Is(err, approval.ErrNone) || errors.Is(err, approval.ErrDamaged) {
		global, err := config.LoadGlobal(home.Path())
		if err != nil {
			return err
		}
		accepted = asker{workspace: workspace, global: global, runtime: app.DefaultRuntime}.asks(&config.Agent{})
	} else if err != nil {
		return err
	}
	w.asks = accepted
	for _, pattern := range patterns {
		file, err := config.AddAllow(workspace, pattern)
		if errors.Is(err, config.ErrNotAdded) {
			return &exitError{code: codeFailure, err: err, hint: "the run may reach it now; write it under network.allow in " + file}
		}
		if err != nil {
			return fmt.Errorf("save %s: %w", pattern, err)
		}
		w.asks = append(w.asks, allowAsk(pattern))
		app.say("%s is allowed in %s, for later runs", pattern, file)
	}
	return w.accept()
}
