// Package plan says what a run will be, before anything of it exists: Make joins what the person typed, agent.yaml, the
// global configuration and facts about the host.
//
// A Plan is complete (a supervisor needs nothing else but the values of the environment), printable (what
// --dry-run shows is what is carried out) and free of secrets (names of variables, never their values), so that
// it may be stored in the run's record and shown to anybody who may see the run. The package is pure: it reads no
// files and asks no runtime. Reading agent.yaml is left to package config, carrying a plan out to the supervisor.
package plan

import (
	"encoding/json"

	"moat/internal/sandbox"
)

// Plan is everything that was decided about a run before it starts.
type Plan struct {
	Name        string          `json:"name"`                   // empty: one is made up when the run is created
	Workspace   string          `json:"workspace"`              // host directory, absolute; appears at /workspace
	Runtime     string          `json:"runtime"`                // native, docker, …
	Image       string          `json:"image"`                  // OCI reference as it was asked for; empty: the host's system directories
	ImageDigest string          `json:"image_digest,omitempty"` // what Image meant when the run began: that is what runs
	ImageUser   string          `json:"image_user,omitempty"`   // whom the image wants its command to run as: user[:group], names or numbers; empty: root
	Command     []string        `json:"command"`
	WorkDir     string          `json:"work_dir"` // where the command starts, inside
	Interactive bool            `json:"interactive"`
	TTY         bool            `json:"tty"`
	Smallest    bool            `json:"smallest,omitempty"` // the terminal is as small as the smallest that shows it, instead of as large as the one that was active last
	Stdin       bool            `json:"stdin"`              // the command's stdin is fed by clients; otherwise it is empty
	EnvNames    []string        `json:"env_names"`          // variables that are set for the command; values are never kept
	Hostname    string          `json:"hostname"`
	User        sandbox.User    `json:"user"`
	Mounts      []sandbox.Mount `json:"mounts"`
	Tools       []sandbox.Tool  `json:"tools"`
	Limits      sandbox.Limits  `json:"limits"`
	Network     *Network        `json:"network,omitempty"`     // nil: there is no way out
	Grants      []string        `json:"grants"`                // names of stored credentials that the run may use
	AuditInput  bool            `json:"audit_input,omitempty"` // digests of what clients send to its commands are entered in the audit record
}

// MarshalJSON writes empty lists as [], never as null, as every JSON of moat does.
func (p Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	q := plain(p)
	q.Command = orEmpty(q.Command)
	q.EnvNames = orEmpty(q.EnvNames)
	q.Mounts = orEmpty(q.Mounts)
	q.Tools = orEmpty(q.Tools)
	q.Grants = orEmpty(q.Grants)
	return json.Marshal(q)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
