package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/term"

	"moat/internal/config"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// defaultGrace is how long a stop waits between SIGTERM and SIGKILL.
const defaultGrace = 10 * time.Second

// optionalBool is a flag that may be left unset.
type optionalBool struct{ value *bool }

func (o *optionalBool) Set(text string) error {
	v, err := strconv.ParseBool(text)
	if err != nil {
		return errors.New(`write "true" or "false"`)
	}
	o.value = &v
	return nil
}

func (o *optionalBool) String() string {
	if o.value == nil {
		return ""
	}
	return strconv.FormatBool(*o.value)
}

// Type is shown in usage texts.
func (o *optionalBool) Type() string { return "bool" }

// getenv is a variable's value, "" if it is unset.
func (app *App) getenv(name string) string {
	v, _ := app.Env(name)
	return v
}

// userHome is the person's home directory.
func (app *App) userHome() (string, error) {
	if h := app.getenv("HOME"); filepath.IsAbs(h) {
		return h, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("the home directory is unknown: set HOME: %w", err)
	}
	return u.HomeDir, nil
}

// openHome opens $MOAT_HOME, by default ~/.moat.
func (app *App) openHome() (*run.Home, error) {
	path := app.getenv("MOAT_HOME")
	if path == "" {
		h, err := app.userHome()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(h, ".moat")
	}
	return run.Open(path)
}

// runtimeName is what the flag, or else the environment, says.
func (app *App) runtimeName(flag string) (string, error) {
	name := cmp.Or(flag, app.getenv("MOAT_RUNTIME"))
	if name == "" {
		return "", nil
	}
	return config.ParseRuntime(name)
}

// chosenRuntime is the one that somebody chose: on the command line or in the environment, in agent.yaml, or in config.yaml. Empty:
// nobody did.
func chosenRuntime(asked plan.Asked, agent *config.Agent, global *config.Global) string {
	if agent == nil {
		agent = &config.Agent{}
	}
	return cmp.Or(asked.Runtime, agent.Runtime, global.Runtime)
}

// stopWindow is the time for a second Ctrl+C.
func (app *App) stopWindow(global *config.Global) (time.Duration, error) {
	text := app.getenv("MOAT_STOP_WINDOW")
	if text == "" {
		return global.Detach.StopWindow, nil
	}
	window, err := config.ParseStopWindow(text)
	if err != nil {
		return 0, &exitError{code: codeUsage, err: fmt.Errorf("MOAT_STOP_WINDOW: %w", err)}
	}
	return window, nil
}

// detachKeys is the prefix of the keys that are for moat and not for the command.
func (app *App) detachKeys(global *config.Global) (config.Keys, error) {
	text := app.getenv("MOAT_DETACH_KEYS")
	if text == "" {
		return global.Detach.Keys, nil
	}
	keys, err := config.ParseKeys(text)
	if err != nil {
		return nil, &exitError{code: codeUsage, err: fmt.Errorf("MOAT_DETACH_KEYS: %w", err)}
	}
	return keys, nil
}

// Wanted is what decides about the person's own tools.
type Wanted struct {
	Home      string // the person's home directory
	Workspace string
	MoatHome  string
	None      bool     // none are wanted
	Paths     []string // asked for by name
}

// facts looks at the host. chosen is a runtime that somebody has chosen, if anybody has.
func (app *App) facts(workspace string, home *run.Home, agent *config.Agent, chosen string) (plan.Facts, error) {
	userHome, err := app.userHome()
	if err != nil {
		return plan.Facts{}, err
	}
	want := Wanted{Home: userHome, Workspace: workspace, MoatHome: home.Path()}
	if agent != nil {
		want.None, want.Paths = agent.Tools.None, agent.Tools.Paths
	}
	tools, env, err := app.Tools(want)
	if err != nil {
		return plan.Facts{}, &exitError{code: codeUsage, err: err}
	}
	who := sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: app.userName(), Home: userHome}
	for name, value := range map[string]string{"HOME": who.Home, "USER": who.Name, "LOGNAME": who.Name, "LANG": cmp.Or(app.getenv("LANG"), "C.UTF-8")} {
		env[name] = value
	}
	for _, name := range []string{"LC_ALL", "TZ", "NO_COLOR"} {
		if v := app.getenv(name); v != "" {
			env[name] = v
		}
	}
	if chosen == "" {
		chosen = app.DefaultRuntime()
	}
	return plan.Facts{
		TTYEnv: app.ttyEnv(), User: who, Home: userHome, Tools: tools, Env: env, ImageEnv: app.imageEnv(), Runtime: chosen, StdinIs: app.stdin(),
	}, nil
}

// imageEnv is what the host's side gives a command in an image, which knows neither the host's paths nor its locales.
func (app *App) imageEnv() map[string]string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
	for _, name := range []string{"TZ", "NO_COLOR"} {
		if v := app.getenv(name); v != "" {
			env[name] = v
		}
	}
	return env
}

// ttyEnv describes the person's terminal to a command that gets one.
func (app *App) ttyEnv() map[string]string {
	env := map[string]string{"TERM": cmp.Or(app.getenv("TERM"), "xterm-256color")}
	if v := app.getenv("COLORTERM"); v != "" {
		env["COLORTERM"] = v
	}
	return env
}

// userName is the person's login name, or a neutral one if there is none.
func (app *App) userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "agent"
}

// terminalWriter reports whether w is a terminal.
func terminalWriter(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// stdin tells what standard input is.
func (app *App) stdin() plan.Stdin {
	info, err := app.In.Stat()
	switch {
	case err != nil:
		return plan.StdinNone
	case term.IsTerminal(int(app.In.Fd())):
		return plan.StdinTerminal
	case info.Mode()&os.ModeCharDevice != 0:
		return plan.StdinNone // /dev/null
	default:
		return plan.StdinPiped
	}
}
