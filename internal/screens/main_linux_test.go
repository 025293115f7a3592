package screens

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// patience bounds every wait. It is generous, because the machine may be busy; whoever waits as long has found a bug.
const patience = 60 * time.Second

// Names of the programs that the tests use.
const (
	moatName  = "moat"
	actorName = "actor" // this test binary; under that name it is a command to run on a run's terminal
)

// stage is the folder of everything that this test process makes. TestMain alone sets it.
var stage string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == actorName {
		os.Exit(act(os.Args[1:]))
	}
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "screens:", err)
		code = 1
	}
	os.Exit(code)
}

func prepared(m *testing.M) (code int, err error) {
	if stage, err = os.MkdirTemp("", "screens-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(stage)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(stage, moatName), "moat/cmd/moat")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build moat: %w\n%s", err, text)
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return 1, err
	}
	if err := os.WriteFile(filepath.Join(stage, actorName), program, 0o755); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// rounds is how many of something there are: short, or what MOAT_SOAK says.
func rounds(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv("MOAT_SOAK")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("MOAT_SOAK=%q: write how many rounds", text)
	}
	return max(n, short)
}

// house is one $MOAT_HOME with a workspace in which the actor is.
type house struct {
	t         *testing.T
	moat      string
	home      string
	workspace string
	env       []string
}

// newHouse makes a house. When the test ends its runs are removed.
func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := os.MkdirTemp(stage, "h") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, moat: filepath.Join(stage, moatName), home: filepath.Join(dir, "home"), workspace: filepath.Join(dir, "ws")}
	if err := os.Mkdir(h.workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(stage, actorName), filepath.Join(h.workspace, actorName)); err != nil {
		t.Fatal(err)
	}
	h.env = append(os.Environ(), "MOAT_HOME="+h.home, "TERM=xterm-256color", "LANG=C.UTF-8", "MOAT_STOP_WINDOW=200ms", "TMUX=", "PS1=$ ")
	t.Cleanup(func() {
		for _, r := range h.list("-a") {
			h.command("destroy", "-f", r.ID)
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(h.home, "runs/*/supervisor.log"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				t.Logf("%s:\n%s", name, text)
			}
		}
	})
	return h
}

// configure writes config.yaml.
func (h *house) configure(text string) {
	h.t.Helper()
	if err := os.MkdirAll(h.home, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.home, "config.yaml"), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// prepare makes a moat command.
func (h *house) prepare(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.moat, args...)
	cmd.Dir, cmd.Env = h.workspace, h.env
	return cmd
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// command runs a moat command without a terminal to its end.
func (h *house) command(args ...string) result { return h.piped("", args...) }

// piped is command with something on standard input.
func (h *house) piped(in string, args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also used when the test's own has ended
	defer cancel()
	cmd := h.prepare(ctx, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if in != "" {
		cmd.Stdin = bytes.NewBufferString(in)
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil || ctx.Err() != nil {
		h.t.Fatalf("moat %q: %v, %v", args, err, ctx.Err())
	}
	return result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is command, which must end with 0; it returns what was printed.
func (h *house) must(args ...string) string {
	h.t.Helper()
	r := h.command(args...)
	if r.code != 0 {
		h.t.Fatalf("moat %q ended with %d: %s", args, r.code, r.err)
	}
	return r.out
}

// start starts a run with a terminal and nobody at it.
func (h *house) start(name string, command ...string) {
	h.t.Helper()
	h.must(append([]string{"run", "-d", "-it", "--name", name, "--"}, command...)...)
}

// listed is a line of moat list --json.
type listed struct {
	ID, Name, State string
	Clients         *int
	Attention       *string
	LastOutputAt    *time.Time `json:"last_output_at"`
	ExitCode        *int       `json:"exit_code"`
}

func (h *house) list(flags ...string) []listed {
	h.t.Helper()
	var all []listed
	if err := json.Unmarshal([]byte(h.must(append([]string{"list", "--json"}, flags...)...)), &all); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// find is the run of that name.
func (h *house) find(name string) listed {
	h.t.Helper()
	for _, r := range h.list("-a") {
		if r.Name == name {
			return r
		}
	}
	h.t.Fatalf("there is no run %s", name)
	return listed{}
}

// within looks until ok is true; false if it is not after d. It is for what sends no message.
func within(d time.Duration, ok func() bool) bool {
	end := time.Now().Add(d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			return ok()
		}
		<-tick.C
	}
	return true
}
