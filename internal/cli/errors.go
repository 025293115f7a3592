package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"moat/internal/config"
	"moat/internal/grant"
	"moat/internal/run"
	"moat/internal/sandbox"
	"moat/internal/secret"
)

// Exit codes of moat itself; a command's own code is passed on as it is.
const (
	codeFailure     = 1
	codeUsage       = 2
	codeNotStarted  = 125
	codeInterrupted = 130
)

// exitError ends the process with a code. Without err nothing is printed: what was to be said has been said.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// isExit reports whether err has nothing to say but an exit code.
func isExit(err error) bool {
	var exit *exitError
	var left *leftError
	return errors.As(err, &exit) && exit.err == nil || errors.As(err, &left)
}

// usageError is a command line that cannot be understood.
func usageError(c *cobra.Command, err error) error {
	return &exitError{code: codeUsage, err: err, hint: fmt.Sprintf("see %q", c.CommandPath()+" --help")}
}

// usagef is usageError with a message.
func usagef(c *cobra.Command, format string, args ...any) error {
	return usageError(c, fmt.Errorf(format, args...))
}

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	var exit *exitError
	var cfg *config.Error
	var name *run.NameError
	var taken *run.NameTakenError
	var unavailable *sandbox.Unavailable
	var left *leftError
	var provider *grant.UnknownError
	var ref *grant.RefError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &left):
		return left.code()
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &cfg), errors.As(err, &name), errors.As(err, &provider), errors.As(err, &ref), errors.Is(err, secret.ErrName):
		return codeUsage
	case errors.As(err, &unavailable), errors.As(err, &taken):
		return codeNotStarted
	case errors.Is(err, context.Canceled):
		return codeInterrupted
	default:
		return codeFailure
	}
}

// hintFor says what to type next.
func hintFor(err error) string {
	var exit *exitError
	var missing *run.NotFoundError
	var ambiguous *run.AmbiguousError
	var taken *run.NameTakenError
	var unavailable *sandbox.Unavailable
	var state *run.StateError
	var provider *grant.UnknownError
	switch {
	case errors.As(err, &provider):
		return providersHint(provider)
	case errors.As(err, &state):
		var hints []string
		for _, verb := range state.Try() {
			hints = append(hints, tryCommand(verb, state.Record))
		}
		return strings.Join(hints, "\n")
	case errors.As(err, &exit) && exit.hint != "":
		return exit.hint
	case errors.As(err, &missing):
		if len(missing.Candidates) == 0 {
			return `start one with "moat run -- COMMAND"`
		}
		return "there are:\n" + candidates(missing.Candidates) + `"moat list -a" shows all`
	case errors.As(err, &ambiguous):
		return "it may mean:\n" + candidates(ambiguous.Candidates) + "write more of the id, or the name"
	case errors.As(err, &taken):
		return fmt.Sprintf("choose another one with --name, attach to that run (moat attach %s) or end it (moat stop %s)", taken.Name, taken.Name)
	case errors.As(err, &unavailable):
		hint := unavailable.Fix
		if unavailable.Instead != "" {
			hint += fmt.Sprintf("\nor use another runtime: --runtime %s", unavailable.Instead)
		}
		return hint + "\n\"moat doctor\" looks at all runtimes"
	}
	return ""
}

// tryCommand is a whole command line for a verb that helps. It has the run's id: the name may be another run's by now.
func tryCommand(verb string, rec run.Record) string {
	if verb != "run" {
		return fmt.Sprintf("moat %s %s", verb, rec.ID)
	}
	words := []string{"moat run", shellWord(rec.Plan.Workspace), "--"}
	for _, w := range rec.Plan.Command {
		words = append(words, shellWord(w))
	}
	return strings.Join(words, " ")
}

// shellWord quotes a word for a shell where it must be (POSIX.1-2024, 2.2.2).
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@+,%"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// errNoneLive says that a verb that wants a run which is going on finds none.
func errNoneLive() error {
	return &exitError{code: codeFailure, err: errors.New("no run is going on"), hint: `"moat list -a" shows those that ended, "moat run -- COMMAND" starts one`}
}

func candidates(list []run.Candidate) string {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "  %s  %s  %s\n", c.ID, c.Name, c.State)
	}
	return b.String()
}
