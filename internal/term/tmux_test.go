package term

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tmuxState is what tmux can tell of a terminal's state.
const tmuxState = "title=#{pane_title} alternate=#{alternate_on} cursor=#{cursor_flag} insert=#{insert_flag} keys=#{keypad_cursor_flag} keypad=#{keypad_flag} " +
	"mouse=#{mouse_standard_flag}#{mouse_button_flag}#{mouse_all_flag}#{mouse_sgr_flag}#{mouse_utf8_flag} origin=#{origin_flag} wrap=#{wrap_flag} region=#{scroll_region_upper}-#{scroll_region_lower}"

// tmuxScript shows files in a terminal of tmux, and writes the state after each. The answer to a query shows that tmux
// has read all before it.
const tmuxScript = `stty raw -echo
printf '\e]2;mine\a'
state() { printf '\e[6n'; read -rsd R; tmux display-message -p -t "$TMUX_PANE" "$FORMAT" >>states; }
state
for f in out.*; do cat $f; state; cat undo.$f; state; done
tmux wait-for -S done
`

// TestUndoInTmux plays random output to tmux and then what undoes it, again and again in the same terminal.
func TestUndoInTmux(t *testing.T) {
	for _, program := range []string{"tmux", "bash", "stty"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("there is no " + program)
		}
	}
	const rounds = 60
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("script", []byte(tmuxScript))
	r := rand.New(rand.NewPCG(5, 6))
	inputs := make([]string, rounds)
	for i := range inputs {
		inputs[i] = randomOutput(r)
		f := NewFilter(Options{})
		name := fmt.Sprintf("out.%03d", i)
		write(name, f.Append(nil, []byte(inputs[i])))
		write("undo."+name, f.Undo())
	}
	runTmux(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "states"))
	if err != nil {
		t.Fatal(err)
	}
	states := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(states) != 1+2*rounds {
		t.Fatalf("%d states", len(states))
	}
	changed := 0
	for i, in := range inputs {
		if states[1+2*i] != states[0] {
			changed++
		}
		if diff := cmp.Diff(states[0], states[2+2*i]); diff != "" {
			t.Errorf("after %q (-before +after):\n%s", in, diff)
		}
	}
	if changed < rounds/2 {
		t.Errorf("only %d of the outputs changed anything", changed)
	}
}

// runTmux runs the script in dir in a server of its own.
func runTmux(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "tmux", append([]string{"-S", filepath.Join(dir, "tmux"), "-f", os.DevNull}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "FORMAT="+tmuxState, "TMUX=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("tmux %v: %w: %s", args, err, out)
		}
		return nil
	}
	defer run("kill-server")
	if err := run("new-session", "-d", "-x", "80", "-y", "24", "bash script; exec cat"); err != nil {
		t.Fatal(err)
	}
	if err := run("wait-for", "done"); err != nil {
		t.Fatal(err)
	}
}
