// Package sandbox says what a sandbox is and what a runtime must be able to do to make one.
//
// A sandbox has its own processes, its own files and no network; moat's guest is its first process. A runtime
// promises that everything it makes for a run can be found again from the run's Ref alone, so that a successor
// of a killed supervisor can reach it or take it down. What happens inside (commands, terminals) is left to
// packages guest and line; when to start and stop is left to the supervisor. Every runtime runs the same
// conformance suite, package sandboxtest.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// A Runtime makes sandboxes. All methods may be called concurrently for different sandboxes.
type Runtime interface {
	// Check reports whether the runtime works on this machine: nil, or an *Unavailable that tells how to mend it.
	Check(ctx context.Context) error

	// Start makes the sandbox of spec.Ref and starts the guest in it. It returns when the guest can be dialled.
	// On error nothing is left behind. A guest whose process that called Start dies before the first Spawn
	// message takes its sandbox down by itself.
	Start(ctx context.Context, spec Spec) error

	// Dial opens a byte stream to the guest; the caller closes it. ErrGone if there is no such sandbox.
	Dial(ctx context.Context, ref Ref) (net.Conn, error)

	// State tells whether the sandbox lives. An error means unknown, never gone.
	State(ctx context.Context, ref Ref) (State, error)

	// Report says what holds the sandbox and what it ran into so far. ErrGone if there is no such sandbox; ask
	// before Remove.
	Report(ctx context.Context, ref Ref) (Report, error)

	// Remove ends every process of the sandbox and removes all that Start made, except what the person may want
	// to see afterwards (the home directory). It is idempotent and works on half-made sandboxes.
	Remove(ctx context.Context, ref Ref) error
}

// ErrGone says that there is no such sandbox (any more). It is certain, not a guess.
var ErrGone = errors.New("sandbox is gone")

// State is what is known about a sandbox.
type State int

// Unknown is the zero value on purpose: an answer that nobody gave must not look like one.
const (
	Unknown State = iota
	Running
	Gone
)

func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Gone:
		return "gone"
	default:
		return "unknown"
	}
}

// Ref names a run's sandbox.
type Ref struct {
	ID  string // the run's id, for names in shared spaces such as cgroups; letters, digits and dashes
	Dir string // the folder in the run's folder that belongs to the runtime; absolute
}

// Spec is everything a runtime needs to know. It holds no secret but the line's.
type Spec struct {
	Ref
	Hostname  string
	Image     Image   // whose files the sandbox has; without one: the host's system directories (native only)
	Workspace string  // host directory that appears at WorkspaceDir
	Mounts    []Mount // further mounts, in order
	Tools     []Tool  // directories of the person's own tools (native only)
	User      User
	Limits    Limits
	Secret    []byte // 32 bytes; the guest's peer must prove that it knows them
	TrustFile string // host path of the roots (PEM) that the sandbox trusts in the place of the host's; the run's own root lies beside it as root.pem; empty: the host's
	// Trusted returns when TrustFile can be read, or an error with which Start fails; nil: it is there. So a runtime
	// can make the rest meanwhile.
	Trusted func(context.Context) error `json:"-"`

	Network bool // there is a door: the guest hands its sockets to the supervisor. Otherwise there is only lo
	// SSHAgent asks for a socket at [AgentSocket], which the guest hands to the supervisor with those of the door.
	SSHAgent bool
	// KnownHostsFile is the host path of lines for ssh about keys of hosts, beside the host's own; empty: there are none. It
	// can be read when Trusted has returned.
	KnownHostsFile string

	// Forbidden are host directories that must not become visible inside, such as moat's own folder. Start
	// refuses a workspace, mount or tool that contains one of them or lies in one. Those that do not exist are ignored.
	Forbidden []string
}

// AgentSocket is where a sandbox's ssh agent is, inside: in the one directory that every sandbox has and every user may write to.
const AgentSocket = "/tmp/.moat-ssh-agent"

// WorkspaceDir is where the workspace appears inside.
const WorkspaceDir = "/workspace"

// Mount makes a host path visible inside.
type Mount struct {
	Source   string `json:"source"` // absolute, exists
	Target   string `json:"target"` // absolute, clean
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Tool is a directory (or file) of the person's own tools: visible at the same path inside, and writable there
// without changing the host's. Masked paths below it are not visible.
type Tool struct {
	Path string   `json:"path"` // absolute, without links
	Mask []string `json:"mask,omitempty"`
}

// Image is where a sandbox's files come from. Its environment, entrypoint and directory are the command's, of which a runtime
// knows nothing.
type Image struct {
	Ref    string // OCI reference as it was asked for; empty: there is no image
	Digest string // identifies what Ref meant when the run began
	Dir    string // where the command starts, made if it is not there; empty: nowhere of the image's
	User   string // whom the image wants its command to run as: user[:group], names or numbers; empty: root

	// Layers are host directories, the lowest first, that together are the sandbox's root. Only for runtimes that stack them
	// themselves.
	Layers []string
}

// User is who the command runs as.
type User struct {
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Name string `json:"name"`
	Home string `json:"home"` // inside
}

// Limits bound what a sandbox may use; zero means no limit, except for PIDs where it means DefaultPIDs.
type Limits struct {
	MemoryBytes int64   `json:"memory_bytes,omitempty"`
	CPUs        float64 `json:"cpus,omitempty"`
	PIDs        int     `json:"pids,omitempty"`
}

// Hold says how a limit is held.
type Hold int

// From the weakest to the strongest.
const (
	NotHeld    Hold = iota // not asked for, or nothing on this machine can hold it
	HeldPartly             // for each process alone, or only until a process lifts it
	Held                   // all processes together are limited
)

// Report says what holds a sandbox where machines differ, and what it ran into.
type Report struct {
	Memory   Hold     `json:"memory"`
	CPUs     Hold     `json:"cpus"`
	PIDs     Hold     `json:"pids"`
	Warnings []string `json:"warnings,omitempty"` // one sentence each: what is weaker than was asked for, and why
	OOMKills int      `json:"oom_kills"`          // processes that the kernel ended because the memory limit was reached
	Walls    []string `json:"walls,omitempty"`    // what of the kernel holds it, as it was found: "no_new_privs", "seccomp filter" …; empty if nobody can tell
}

// DefaultPIDs is the number of processes and threads that a sandbox may have when nothing else was asked for.
const DefaultPIDs = 4096

// Unavailable says why a runtime does not work on this machine and what would mend it.
type Unavailable struct {
	Runtime string
	Reason  string // what the kernel or engine said
	Fix     string // what to type or set, may span lines
	Instead string // another runtime that may work
}

func (e *Unavailable) Error() string {
	return fmt.Sprintf("runtime %s is not available: %s", e.Runtime, e.Reason)
}
