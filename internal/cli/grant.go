package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"moat/internal/grant"
	"moat/internal/plan"
	"moat/internal/secret"
)

type grantOptions struct {
	tokenStdin, take bool
	profile, key     string
	unchecked        bool
}

func (app *App) grantCommand() *cobra.Command {
	var o grantOptions
	c := &cobra.Command{
		Use:   "grant <provider>[:scopes][@profile] [--token-stdin|--import] | list | show",
		Short: "Store a credential that runs may use and never see",
		Long: `Store a credential, sealed, for runs that are started with --grant. Such a run gets a placeholder, and moat puts the
credential into requests on their way to the provider's hosts. The token is asked for on the terminal, read from standard
input, or taken from a program that has it.

Several credentials of one provider have profiles: "moat grant github --profile work" stores github@work, and a run
uses it with --grant github@work.

"moat grant ssh:github.com" is for logging in to a host with SSH. The key stays in your ssh agent, or is taken from a file;
the sandbox gets an agent that signs for that host only.

"moat grant list" shows what is stored, "moat grant show" one of them. Providers are anthropic, aws, claude, gemini,
github, gitlab, npm, openai, pypi, and your own ones in MOAT_HOME/providers.`,
		Example: `  moat grant github
  moat grant github --import
  moat grant npm --token-stdin < token-file
  moat grant ssh:github.com --key ~/.ssh/id_ed25519
  moat grant list`,
		Args: func(c *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usagef(c, "for which provider?")
			case 1:
				return nil
			}
			return usagef(c, "unexpected argument %q", args[1])
		},
		RunE: func(c *cobra.Command, args []string) error { return app.grant(c, o, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return app.completeProviders()
		},
	}
	c.Flags().BoolVar(&o.tokenStdin, "token-stdin", false, "read the token from standard input")
	c.Flags().BoolVar(&o.take, "import", false, "take it from the provider's own program on this machine (github: gh, claude: Claude Code, aws: aws)")
	c.Flags().StringVar(&o.profile, "profile", "", "store it beside others of the provider, as provider@`NAME`")
	c.Flags().StringVar(&o.key, "key", "", "`FILE` of the key for ssh:host; of a public one the private half is in the ssh agent")
	c.Flags().BoolVar(&o.unchecked, "no-validate", false, "do not ask the provider whether the credential is good")
	c.AddCommand(app.grantListCommand(), app.grantShowCommand())
	for _, sub := range c.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return c
}

// book opens the person's providers and credentials.
func (app *App) book() (*grant.Book, error) {
	home, err := app.openHome()
	if err != nil {
		return nil, err
	}
	return &grant.Book{Home: home.Path(), Store: secret.Open(home.Path(), app.Keyring), AgentSocket: app.getenv("SSH_AUTH_SOCK")}, nil
}

// checkGrants makes sure that a run's grants can be used, before there is a run.
func (app *App) checkGrants(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	book, err := app.book()
	if err == nil {
		err = book.Check(ctx, names)
	}
	if err == nil || exitCode(err) == codeUsage {
		return err
	}
	return &exitError{code: codeNotStarted, err: err}
}

func (app *App) grant(c *cobra.Command, o grantOptions, text string) error {
	book, err := app.book()
	if err != nil {
		return err
	}
	ref, err := o.ref(c, text)
	if err != nil {
		return err
	}
	provider, err := book.Provider(ref)
	if err != nil {
		return err
	}
	if o.key != "" && ref.Host == "" {
		return usagef(c, "--key is for ssh:HOST")
	}
	if err := checkScopes(c, provider, ref.Scopes); err != nil {
		return err
	}
	credential, err := app.obtain(c, o, provider, ref)
	if err != nil {
		return err
	}
	doubt, err := provider.Check(credential.Token)
	if err != nil {
		return err
	}
	if err := app.tryCredential(c.Context(), o, provider, credential); err != nil {
		return err
	}
	credential.Provider, credential.Profile = provider.Name, ref.Profile
	if ref.Scopes != nil {
		credential.Scopes = ref.Scopes
	}
	kept, err := book.Save(c.Context(), credential)
	if err != nil {
		return err
	}
	app.stored(provider, credential, kept, doubt)
	return nil
}

// ref is the grant that the command line names.
func (o grantOptions) ref(c *cobra.Command, text string) (grant.Ref, error) {
	if o.profile != "" {
		if strings.Contains(text, "@") {
			return grant.Ref{}, usagef(c, "the profile is said twice: %s --profile %s", text, o.profile)
		}
		text += "@" + o.profile
	}
	return grant.ParseRef(text)
}

// stored says what has become of a credential.
func (app *App) stored(p grant.Provider, c grant.Credential, kept *secret.Kept, doubt string) {
	if kept != nil && kept.File != "" {
		app.say("the key of the credential store is in the file %s, for you only: the system's keyring cannot be used (%v)", kept.File, kept.Why)
	}
	if c.SSH != nil {
		app.say("stored the %s; runs with --grant %s log in there with it", p.Title, c.Ref().Name())
	} else {
		app.say("stored the %s; runs with --grant %s use it at %s", p.Title, c.Ref().Name(), strings.Join(p.Hosts, ", "))
	}
	if doubt != "" {
		app.say("%s", doubt)
	}
	if !c.Refresh.IsZero() && p.Login != nil {
		app.say("the login is now shared with the program that it is from: whichever of the two renews it first may log the other out")
	}
	switch left := time.Until(c.ExpiresAt); {
	case c.ExpiresAt.IsZero() || left >= 24*time.Hour:
	case !c.Refresh.IsZero():
		app.say("its token is for some hours at most; runs that use it renew it")
	case left <= 0:
		app.say("it has expired, so no run can use it")
	default:
		app.say("it ends in %s, and runs cannot renew it", age(left))
	}
}

// checkScopes checks what comes after the colon.
func checkScopes(c *cobra.Command, p grant.Provider, scopes []string) error {
	if scopes != nil && !p.Scoped {
		return usagef(c, "the credential of %s has no scopes", p.Name)
	}
	for _, scope := range scopes {
		if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_:./-]{0,99}$`).MatchString(scope) {
			return usagef(c, "%q is not a scope; write them as in %s:repo,read:org", scope, p.Name)
		}
	}
	return nil
}

// obtain gets a credential from where the person says.
func (app *App) obtain(c *cobra.Command, o grantOptions, p grant.Provider, ref grant.Ref) (grant.Credential, error) {
	none := grant.Credential{}
	if ref.Host != "" {
		return app.obtainSSH(c, o, ref)
	}
	switch terminal := app.stdin() == plan.StdinTerminal; {
	case o.take && o.tokenStdin:
		return none, usagef(c, "--import and --token-stdin cannot both be")
	case o.take && p.Import == nil:
		return none, usagef(c, "moat knows no program that has a %s", p.Title)
	case o.login(app, p) != nil:
		return app.logIn(c.Context(), o.login(app, p), ref)
	case o.take:
		home, err := app.userHome()
		if err != nil {
			return none, err
		}
		return p.Import.Take(c.Context(), grant.Source{Home: home, Profile: ref.Profile})
	case terminal:
		app.sayObtain(p)
		return app.askAll(c.Context(), p)
	case !o.tokenStdin:
		return none, &exitError{code: codeUsage, err: errors.New("there is no terminal to ask on"),
			hint: fmt.Sprintf("write the token to standard input: moat grant %s --token-stdin < FILE", ref.Name())}
	}
	text, err := io.ReadAll(io.LimitReader(app.In, 1<<20))
	if err != nil {
		return none, fmt.Errorf("read the token: %w", err)
	}
	return readCredential(p, string(text), "stdin")
}

// readCredential is a mistake of the person where it fails.
func readCredential(p grant.Provider, text, source string) (grant.Credential, error) {
	c, err := p.Read(text)
	if err != nil {
		return c, &exitError{code: codeUsage, err: err}
	}
	c.Source = source
	return c, nil
}

// askAll asks for everything that a credential consists of.
func (app *App) askAll(ctx context.Context, p grant.Provider) (grant.Credential, error) {
	var answers []string
	for _, question := range p.Questions() {
		answer, err := app.askSecret(ctx, question)
		if err != nil {
			return grant.Credential{}, err
		}
		answers = append(answers, answer)
	}
	return readCredential(p, strings.Join(answers, "\n"), "prompt")
}

func (app *App) sayObtain(p grant.Provider) {
	if p.Obtain != "" {
		app.say("you get one at: %s", p.Obtain)
	}
	if p.Import != nil {
		app.say("with --import it is taken from %s", p.Import.From)
	}
}

// askSecret reads a line from the terminal that is not shown. It is not shown from before the question is, and the terminal
// is as it was afterwards, in any case.
func (app *App) askSecret(ctx context.Context, question string) (string, error) {
	fd := int(app.In.Fd())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	state, err := term.MakeRaw(fd)
	if err != nil {
		return "", fmt.Errorf("prepare the terminal: %w", err)
	}
	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 1)
	tty := struct {
		io.Reader
		io.Writer
	}{app.In, app.Err}
	go func() { // ends with the line, or with the process: a read from a terminal cannot be taken back
		text, err := term.NewTerminal(tty, "").ReadPassword(question)
		lines <- line{text, err}
	}()
	read := line{err: io.EOF}
	select {
	case read = <-lines:
	case <-signals:
	case <-ctx.Done():
	}
	if err := term.Restore(fd, state); err != nil {
		return "", fmt.Errorf("give the terminal back: %w", err)
	}
	switch {
	case errors.Is(read.err, io.EOF): // Ctrl+C and Ctrl+D too
		fmt.Fprintln(app.Err)
		return "", &exitError{code: codeInterrupted, err: errors.New("nothing was stored")}
	case read.err != nil:
		return "", fmt.Errorf("read the token: %w", read.err)
	}
	return read.text, nil
}

// providersHint says which providers there are.
func providersHint(e *grant.UnknownError) string {
	hint := "there are " + strings.Join(e.Known, ", ") + " and ssh:HOST; your own ones go into MOAT_HOME/providers"
	if e.Near != "" {
		hint = fmt.Sprintf("did you mean %q?\n%s", e.Near, hint)
	}
	return hint
}

// completeProviders are the providers for a shell; one that cannot be listed is no reason for noise there.
func (app *App) completeProviders() ([]string, cobra.ShellCompDirective) {
	book, err := app.book()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := book.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
