package plan

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"moat/internal/config"
	"moat/internal/policy"
	"moat/internal/sandbox"
)

// Asked is what the person typed. A nil or empty field leaves the choice to agent.yaml, then to the global
// configuration, then to moat.
type Asked struct {
	Workspace   string // absolute, without links
	Name        string
	Runtime     string
	Image       string
	WorkDir     string // inside
	Command     []string
	Interactive *bool // forwards stdin
	TTY         *bool
	Env         []config.Var
	Mounts      []config.Mount
	Limits      config.Limits
	Grants      []string // added to agent.yaml's
	AuditInput  bool     // turns it on; so may both files, and nobody turns it off for another
}

// Facts is what the host is like.
type Facts struct {
	User    sandbox.User
	Home    string            // the person's home directory, outside
	Tools   []sandbox.Tool    // the person's own tools
	Env     map[string]string // variables that the host's side gives every command
	TTYEnv  map[string]string // and those that it gives only to one with a terminal
	Runtime string            // used when nobody chose
	StdinIs Stdin

	Image    *Image            // what the image says that was asked for; nil: nobody has looked yet
	ImageEnv map[string]string // takes the place of Env in an image
}

// Fetch asks for an image to be there, for a runtime.
type Fetch struct {
	Runtime string
	Home    string                  // $MOAT_HOME
	Ref     string                  // valid for [config.ParseImage]
	CAFiles []string                // trusted for registries besides the system's roots
	Anew    bool                    // whether or not it is there: Ref may mean something else by now
	Report  func(done, total int64) // is told of progress in bytes, as often as it likes; total grows while more is known
}

// Image is what an image says that is there.
type Image struct {
	Digest     string   // identifies it for the runtime, as sha256:…
	Env        []string // NAME=value
	Entrypoint []string
	Cmd        []string
	WorkDir    string
	User       string
	Account    *sandbox.User // who User is, where that is known before the start
}

// Stdin is what moat's own standard input is.
type Stdin int

// Kinds of standard input.
const (
	StdinNone     Stdin = iota // closed, or not to be read
	StdinPiped                 // a pipe or a file
	StdinTerminal              // a terminal
)

// ErrNoCommand says that neither the person nor agent.yaml says what to run.
var ErrNoCommand = errors.New("nothing to run")

// workspaceDir is where the workspace appears inside, on every runtime.
const workspaceDir = "/workspace"

// UsualImage is what runs with a runtime that needs an image when nobody named one.
const UsualImage = "debian:12"

// usualImage is the image of a runtime when nobody named one; none for the one that needs none.
func usualImage(runtime string) string {
	if runtime == config.RuntimeNative || runtime == "" {
		return ""
	}
	return UsualImage
}

// Make decides everything about a run and returns the plan and the values of its environment, sorted by name.
// agent may be nil.
func Make(asked Asked, agent *config.Agent, global *config.Global, facts Facts) (Plan, []string, error) {
	if agent == nil {
		agent = &config.Agent{}
	}
	command := asked.Command
	if len(command) == 0 {
		command = agent.Command
	}
	runtime := cmp.Or(asked.Runtime, agent.Runtime, global.Runtime, facts.Runtime)
	ref := cmp.Or(asked.Image, agent.Image, usualImage(runtime))
	image := facts.Image
	if image == nil || ref == "" {
		image = &Image{}
	}
	command = image.command(command)
	if len(command) == 0 && (ref == "" || facts.Image != nil) {
		return Plan{}, nil, ErrNoCommand
	}
	interactive, tty := terminal(asked, agent.Interactive, facts.StdinIs)
	host := make(map[string]string)
	if ref == "" {
		maps.Copy(host, facts.Env)
	} else {
		maps.Copy(host, facts.ImageEnv)
		host["HOME"] = facts.User.Home
		if image.Account != nil {
			host["HOME"] = image.Account.Home
		}
		maps.Copy(host, image.env())
	}
	if tty {
		maps.Copy(host, facts.TTYEnv)
	}
	env := environment(asked.Env, agent.Env, host)
	p := Plan{
		Name:        cmp.Or(asked.Name, agent.Name),
		Workspace:   asked.Workspace,
		Runtime:     runtime,
		Image:       ref,
		ImageDigest: image.Digest,
		ImageUser:   image.User,
		Command:     command,
		WorkDir:     cmp.Or(asked.WorkDir, agent.WorkDir, image.WorkDir, workspaceDir),
		Interactive: interactive,
		TTY:         tty,
		Smallest:    tty && global.Terminal.Smallest,
		Stdin:       interactive,
		EnvNames:    slices.Sorted(maps.Keys(env)),
		User:        facts.User,
		Mounts:      mounts(asked, agent, facts.Home),
		Limits:      limits(asked.Limits, agent.Limits, global.Limits),
		Network:     network(agent, global, facts.Home),
		Grants:      slices.Concat(agent.Grants, asked.Grants),
		AuditInput:  asked.AuditInput || agent.Audit.Input || global.Audit.Input,
	}
	if ref == "" {
		p.Tools = facts.Tools // they are made for the host's libraries
	} else if image.Account != nil {
		p.User = *image.Account
	}
	values := make([]string, 0, len(env))
	for _, name := range p.EnvNames {
		values = append(values, name+"="+env[name])
	}
	return p, values, nil
}

// command is what runs in the image when that is asked for: as in the OCI image specification ("config.md", Entrypoint and
// Cmd), what is asked for takes the place of Cmd and is what the entrypoint is given.
func (i *Image) command(asked []string) []string {
	if len(asked) == 0 {
		asked = i.Cmd
	}
	return slices.Concat(i.Entrypoint, asked)
}

// env is the image's environment. A name given twice has its last value, as in every environment that libc reads.
func (i *Image) env() map[string]string {
	env := make(map[string]string)
	for _, v := range i.Env {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// terminal decides whether stdin is forwarded and whether there is a terminal: -i implies -t when stdin is one.
func terminal(asked Asked, configured bool, stdin Stdin) (interactive, tty bool) {
	interactive = configured
	if asked.Interactive != nil {
		interactive = *asked.Interactive
	}
	tty = interactive && stdin == StdinTerminal
	if asked.TTY != nil {
		tty = *asked.TTY
	}
	return interactive, tty
}

// environment joins the variables; a later source wins.
func environment(asked, agent []config.Var, host map[string]string) map[string]string {
	env := make(map[string]string)
	maps.Copy(env, host)
	for _, list := range [][]config.Var{agent, asked} {
		for _, v := range list {
			env[v.Name] = v.Value
		}
	}
	return env
}

// mounts are those of agent.yaml and then those of the command line; one for the same place replaces the earlier.
func mounts(asked Asked, agent *config.Agent, home string) []sandbox.Mount {
	var out []sandbox.Mount
	for _, m := range slices.Concat(agent.Mounts, asked.Mounts) {
		mount := sandbox.Mount{Source: config.ResolvePath(m.Source, asked.Workspace, home), Target: m.Target, ReadOnly: m.ReadOnly}
		out = slices.DeleteFunc(out, func(o sandbox.Mount) bool { return o.Target == mount.Target })
		out = append(out, mount)
	}
	return out
}

// network joins what the workspace asks for with how the person's machine reaches the world.
func network(agent *config.Agent, global *config.Global, home string) *Network {
	n := &Network{
		Policy:    cmp.Or(string(agent.Network.Policy), string(global.Policy), string(policy.Permissive)),
		Allow:     agent.Network.Allow,
		Deny:      agent.Network.Deny,
		Rules:     agent.Network.Rules,
		HostPorts: agent.Network.Host,
		Limits:    agent.Network.Limits,
		Capture:   cmp.Or(agent.Network.Capture, config.CaptureNone),
		Foreign:   agent.Network.Foreign == config.ForeignAllow,
		Hosts:     global.Egress.Hosts,
	}
	for _, server := range agent.Network.DNS {
		n.DNS = append(n.DNS, server.String())
	}
	for _, file := range global.Egress.CAFiles {
		n.CAFiles = append(n.CAFiles, config.ResolvePath(file, "/", home))
	}
	if proxy := global.Egress.UpstreamProxy; proxy != nil {
		n.UpstreamProxy = proxy.Redacted()
	}
	return n
}

// limits takes each limit from the first source that has it.
func limits(sources ...config.Limits) sandbox.Limits {
	var l sandbox.Limits
	for _, s := range sources {
		l.MemoryBytes = cmp.Or(l.MemoryBytes, s.Memory)
		l.CPUs = cmp.Or(l.CPUs, float64(s.MilliCPUs)/1000)
		l.PIDs = cmp.Or(l.PIDs, int(s.PIDs))
	}
	return l
}
