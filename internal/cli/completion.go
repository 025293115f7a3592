package cli

import (
	"github.com/spf13/cobra"
)

func (app *App) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes moat's commands, flags and runs in a shell",
		Long: `Print a script that lets a shell complete moat's commands, flags and the names of runs.

    source <(moat completion bash)            # bash, with the package bash-completion
    source <(moat completion zsh)             # zsh, after compinit
    moat completion fish | source             # fish
    moat completion powershell | Out-String | Invoke-Expression`,
		Example:   "  moat completion bash > ~/.local/share/bash-completion/completions/moat",
		ValidArgs: shells,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef(c, "for which shell? bash, zsh, fish or powershell")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(app.Out, true)
			case "zsh":
				return root.GenZshCompletion(app.Out)
			case "fish":
				return root.GenFishCompletion(app.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(app.Out)
			default:
				return usagef(c, "%q: there are scripts for bash, zsh, fish and powershell", args[0])
			}
		},
	}
}
