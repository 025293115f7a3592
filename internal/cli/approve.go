package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moat/internal/approval"
	"moat/internal/config"
	"moat/internal/plan"
	"moat/internal/policy"
	"moat/internal/run"
)

func (app *App) approveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "approve [path]",
		Short: "Accept what the agent.yaml of a project asks for",
		Long: `Accept what the agent.yaml in path (default: the current directory) asks for, and print what of it gives the sandbox more
than what was accepted before. The agent can change that file, so "moat run" refuses to start (or asks, on a terminal) until
somebody did so. What only takes something away from the sandbox needs nobody's consent.`,
		Example: `  moat approve
  moat run --approve -- make test`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(c, "%q: only one path can be given", args[1])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return app.approve(c, args) },
	}
}

func (app *App) approve(c *cobra.Command, args []string) error {
	path, err := workspace(slices.Concat(args, []string{"."})[0])
	if err != nil {
		return usageError(c, err)
	}
	home, err := app.openHome()
	if err != nil {
		return err
	}
	global, err := config.LoadGlobal(home.Path())
	if err != nil {
		return err
	}
	agent, err := app.agent(path)
	if err != nil {
		return err
	}
	w, err := app.wishes(home, path, agent, global)
	if err != nil {
		return err
	}
	for _, line := range w.widens {
		if _, err := fmt.Fprintln(app.Out, visible(line.String())); err != nil {
			return err
		}
	}
	if len(w.widens) == 0 {
		app.say("nothing in it gives the sandbox more than before")
	}
	return w.accept()
}

// agent reads the agent.yaml of a workspace and names the sources of its mounts by where they really are. The links on the
// way are followed this once: what is shown, accepted and mounted is the same, though an agent may turn its links meanwhile.
func (app *App) agent(workspace string) (*config.Agent, error) {
	agent, err := config.Load(workspace)
	if err != nil || agent == nil {
		return nil, err
	}
	home, err := app.userHome()
	if err != nil {
		return nil, err
	}
	for i := range agent.Mounts {
		source := &agent.Mounts[i].Source
		*source = config.ResolvePath(*source, workspace, home)
		if real, err := filepath.EvalSymlinks(*source); err == nil { // what is not there is named as it is written
			*source = real
		}
	}
	return agent, nil
}

// wishes is what a workspace's file asks for, compared with what was accepted.
type wishes struct {
	home      string // $MOAT_HOME
	workspace string
	asks      []approval.Ask
	widens    []approval.Line
	stored    bool // there is nothing to store: it is what was accepted last, or what holds by default
}

// wishes compares what the file asks for with what was accepted last, or with what holds by default. A missing file asks
// for nothing. An approval that cannot be relied on counts as none.
func (app *App) wishes(home *run.Home, workspace string, agent *config.Agent, global *config.Global) (*wishes, error) {
	if agent == nil {
		agent = &config.Agent{}
	}
	a := asker{workspace: workspace, global: global, runtime: app.DefaultRuntime}
	w := &wishes{home: home.Path(), workspace: workspace, asks: a.asks(agent)}
	before := a.asks(&config.Agent{})
	accepted, _, err := w.load()
	switch {
	case err == nil:
		before = accepted
	case errors.Is(err, approval.ErrDamaged):
		app.say("%v", err)
	case !errors.Is(err, approval.ErrNone):
		return nil, err
	}
	w.stored = !errors.Is(err, approval.ErrDamaged) && approval.Digest(workspace, before) == approval.Digest(workspace, w.asks)
	w.widens = approval.Widens(before, w.asks)
	return w, nil
}

func (w *wishes) load() ([]approval.Ask, time.Time, error) {
	root, err := os.OpenRoot(w.home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, approval.ErrNone
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read approval: %w", err)
	}
	defer root.Close()
	return approval.Load(root, w.workspace)
}

// accept stores what is asked for as what was accepted last.
func (w *wishes) accept() error {
	if w.stored {
		return nil
	}
	if err := os.MkdirAll(w.home, 0o700); err != nil {
		return fmt.Errorf("store approval: %w", err)
	}
	root, err := os.OpenRoot(w.home)
	if err != nil {
		return fmt.Errorf("store approval: %w", err)
	}
	defer root.Close()
	return approval.Save(root, w.workspace, w.asks, time.Now())
}

// consent returns when this person accepts what the workspace's file asks for: because it gives the sandbox nothing
// more than before, because they said so beforehand, or because they are asked and say yes.
func (app *App) consent(s *attachment, home *run.Home, workspace string, agent *config.Agent, global *config.Global, said bool) error {
	w, err := app.wishes(home, workspace, agent, global)
	if err != nil {
		return err
	}
	if len(w.widens) == 0 || said {
		return w.accept()
	}
	file := workspace
	if agent != nil {
		file = agent.File
	}
	diff := w.difference()
	if app.stdin() != plan.StdinTerminal {
		return &exitError{
			code: codeUsage,
			err:  fmt.Errorf("%s gives the sandbox more than you approved for this folder:\n%s", file, strings.TrimSuffix(diff, "\n")),
			hint: fmt.Sprintf("to accept it: moat approve %s, or add --approve, or set MOAT_APPROVE=1", shellWord(workspace)),
		}
	}
	fmt.Fprintf(app.Err, "moat: %s gives the sandbox more than you approved for this folder:\n%s", visible(file), diff)
	if err := app.yes(s, "accept it?"); err != nil {
		return err
	}
	return w.accept()
}

// maxShown is how many lines of one topic a difference shows, and maxShownText how many characters of a line: nothing can
// be hidden by so much of something else that it is off the screen.
const (
	maxShown     = 10
	maxShownText = 300
)

// difference is what widens, for people.
func (w *wishes) difference() string {
	var b strings.Builder
	shown := map[string]int{}
	for i, line := range w.widens {
		if shown[line.Topic]++; shown[line.Topic] <= maxShown {
			fmt.Fprintf(&b, "  %s\n", cut(visible(line.String()), maxShownText))
		}
		lastOfTopic := i+1 == len(w.widens) || w.widens[i+1].Topic != line.Topic
		if more := shown[line.Topic] - maxShown; lastOfTopic && more > 0 {
			fmt.Fprintf(&b, "    … and %d more in %s (\"moat approve\" lists all)\n", more, line.Topic)
		}
	}
	return b.String()
}

// yes asks on the terminal. The signals are the attachment's already, so that Ctrl+C has to be listened to here.
func (app *App) yes(s *attachment, question string) error {
	fmt.Fprintf(app.Err, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() { // a signal leaves it behind, waiting for a terminal that nobody else reads before the process ends
		answer, _ := bufio.NewReader(app.In).ReadString('\n') // what cannot be read is no yes
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return &exitError{code: codeUsage, err: errors.New("it was not accepted; nothing was started")}
	case <-s.signals:
		return &exitError{code: codeInterrupted}
	}
}

// approved reports whether the person said beforehand that they accept whatever is asked for.
func (app *App) approved(flag bool) (bool, error) {
	text := app.getenv("MOAT_APPROVE")
	if flag || text == "" {
		return flag, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, &exitError{code: codeUsage, err: fmt.Errorf("MOAT_APPROVE: %q is neither 1 nor 0", text)}
	}
	return v, nil
}

// asker says what a file asks for.
type asker struct {
	workspace string
	global    *config.Global
	runtime   func() string // where nobody chooses one
}

func (a asker) asks(agent *config.Agent) []approval.Ask {
	var list []approval.Ask
	add := func(topic string, texts ...string) {
		for _, text := range texts {
			list = append(list, approval.Ask{Topic: topic, Text: text})
		}
	}
	add("grants", agent.Grants...)
	for _, m := range agent.Mounts {
		if text, outside := a.mount(m); outside {
			add("mounts", text)
		}
	}
	add("tools", agent.Tools.Paths...)
	if agent.Tools.None {
		list = append(list, approval.Ask{Topic: "tools", Text: "none", Narrows: true})
	}
	for _, v := range agent.Env {
		if guides(v.Name) {
			add("env", v.Name+"="+v.Value)
		}
	}
	if agent.Image != "" {
		add("image", agent.Image)
	}
	if agent.Runtime != "" && agent.Runtime != a.global.Runtime && agent.Runtime != a.runtime() {
		add("runtime", agent.Runtime)
	}
	if agent.Audit.Input || a.global.Audit.Input {
		list = append(list, approval.Ask{Topic: "audit.input", Text: "true", Narrows: true})
	}
	list = append(list, a.limits(agent.Limits)...)
	return append(list, a.network(&agent.Network)...)
}

// mount describes a mount of a file that [App.agent] read; outside says whether its source is out of the workspace.
func (a asker) mount(m config.Mount) (text string, outside bool) {
	rel, err := filepath.Rel(a.workspace, m.Source)
	outside = err != nil || !filepath.IsLocal(rel)
	text = m.Source + ":" + m.Target
	if m.ReadOnly {
		text += ":ro"
	}
	return text, outside
}

// guides reports whether a variable decides where programs connect to or whom they trust.
func guides(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasSuffix(upper, "_PROXY") || slices.Contains([]string{
		"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
		"CARGO_HTTP_CAINFO", "DENO_TLS_CA_STORE", "NODE_TLS_REJECT_UNAUTHORIZED", "GIT_SSL_NO_VERIFY", "JAVA_TOOL_OPTIONS", "SSH_AUTH_SOCK",
	}, upper)
}

// limits are those that hold: the file's where it has one, or else the person's own for all runs.
func (a asker) limits(file config.Limits) []approval.Ask {
	var list []approval.Ask
	for _, l := range []struct {
		topic      string
		file, mine int64
		text       func(int64) string
	}{
		{"limits.memory", file.Memory, a.global.Limits.Memory, sizeText},
		{"limits.cpus", file.MilliCPUs, a.global.Limits.MilliCPUs, func(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }},
		{"limits.pids", file.PIDs, a.global.Limits.PIDs, func(n int64) string { return strconv.FormatInt(n, 10) }},
	} {
		if l.file == 0 {
			l.file = l.mine
		}
		list = append(list, bound(l.topic, l.file, l.text)...)
	}
	return list
}

// bound is a limit, if there is one.
func bound(topic string, n int64, text func(int64) string) []approval.Ask {
	if n == 0 {
		return nil
	}
	return []approval.Ask{{Topic: topic, Text: text(n), Narrows: true, Bound: n}}
}

// topicPolicy is what the entries of network.allow depend on.
const topicPolicy = "network.policy"

func (a asker) network(n *config.Network) []approval.Ask {
	var list []approval.Ask
	if n.PolicyConfig(a.global.Policy, nil).Mode == policy.Strict {
		list = append(list, approval.Ask{Topic: topicPolicy, Text: string(policy.Strict), Narrows: true})
	}
	for _, text := range n.Allow {
		list = append(list, allowAsk(text))
	}
	for _, text := range n.Deny {
		list = append(list, approval.Ask{Topic: "network.deny", Text: text, Narrows: true})
	}
	if len(n.Rules) > 0 {
		list = append(list, approval.Ask{Topic: "network.rules", Text: allRules(n.Rules), Narrows: true})
	}
	for _, port := range n.Host {
		list = append(list, approval.Ask{Topic: "network.host", Text: strconv.Itoa(port)})
	}
	for _, server := range n.DNS {
		list = append(list, approval.Ask{Topic: "network.dns", Text: server.String()})
	}
	if n.Foreign == config.ForeignAllow {
		list = append(list, approval.Ask{Topic: "network.foreign", Text: n.Foreign})
	}
	list = append(list, bound("network.limits.bytes", n.Limits.Bytes, sizeText)...)
	return append(list, bound("network.limits.requests", n.Limits.Requests, func(n int64) string { return strconv.FormatInt(n, 10) })...)
}

// allowAsk is an entry of network.allow.
func allowAsk(pattern string) approval.Ask {
	return approval.Ask{Topic: "network.allow", Text: pattern, Within: topicPolicy}
}

// allRules is one text: of the rules of several patterns the most specific one's count alone, so that rules for one more
// host may open what others keep shut.
func allRules(rules []policy.HostRules) string {
	var hosts []string
	for _, r := range rules {
		hosts = append(hosts, r.Host+": ["+strings.Join(r.Rules, ", ")+"]")
	}
	slices.Sort(hosts)
	return strings.Join(hosts, ", ")
}
