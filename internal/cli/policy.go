package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"moat/internal/api"
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
	c.AddCommand(&cobra.Command{
		Use:   "allow <run> <host>…",
		Short: "Let a run reach further hosts, for the rest of its life",
		Long: `Let a run reach further hosts, for the rest of its life: a name, *.name, an address or a network, each with or without a
port. Without one it is 80 and 443. To allow it for every run of the project, add it to network.allow in agent.yaml.`,
		Example:           `  moat policy allow tests registry.example.com`,
		ValidArgsFunction: app.completeOneRun(true, cobra.ShellCompDirectiveNoFileComp),
		RunE:              app.allow,
	})
	return c
}

func (app *App) allow(c *cobra.Command, args []string) error {
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
	return nil
}
