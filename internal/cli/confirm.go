package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"moat/internal/plan"
)

// confirm asks a yes-or-no question on the terminal. Where nobody can be asked it is an error that names the flag
// that answers it.
func (app *App) confirm(question, flag string) error {
	if app.stdin() != plan.StdinTerminal {
		return &exitError{code: codeUsage, err: errors.New("there is no terminal to ask on"), hint: "add " + flag}
	}
	fmt.Fprintf(app.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(app.In).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exitError{code: codeFailure, err: errors.New("nothing was done")}
	}
	return nil
}
