// Package config reads what a person writes down: agent.yaml (or moat.yaml) in
// a workspace and config.yaml in $MOAT_HOME. The parsers for single values are
// exported, so that a flag accepts exactly what the file accepts.
//
// It promises that nothing is guessed and nothing is ignored. An unknown key, a
// wrong type, a bad value or a key given twice is a [Problem] with its line and
// column, and all problems of a file are reported together in one [*Error].
// Both files are read within fixed bounds of time and memory: the workspace can
// be written by the agent, so its file is hostile input.
//
// It leaves to others: which of flag, environment and file wins (internal/plan),
// whether this person agreed to what the file asks for, whether the paths in it
// exist, and the environment of the process, which is never looked at here.
package config

import (
	"fmt"
	"time"

	"moat/internal/policy"
)

// The names of the files. A workspace has one of the first two or none.
const (
	AgentFile     = "agent.yaml"
	AgentFileMoat = "moat.yaml"
	GlobalFile    = "config.yaml"
)

// The runtimes that a file or a flag can name.
const (
	RuntimeNative = "native"
	RuntimeDocker = "docker"
	RuntimeApple  = "apple"
)

// Agent is what a workspace asks for. The zero value of a field means that the
// file does not say.
type Agent struct {
	// File is the file as it is named in messages.
	File string

	Name        string // valid for [CheckName]
	Version     string // free text, as written
	Agent       string // free text, as written
	Command     []string
	Interactive bool
	Env         []Var // in the order of the file, each name once
	Mounts      []Mount
	Tools       Tools
	Runtime     string // one of the Runtime constants
	Image       string // valid for [ParseImage]
	WorkDir     string // valid for [ParseWorkDir]
	Limits      Limits
	Network     Network
	Grants      []string // valid for [ParseGrant], each once
	Audit       Audit

	// Positions tells where each value was written.
	Positions Positions
}

// Global is what a person set for all runs. Unlike in [Agent], Detach always
// has usable values: those of [DefaultGlobal] where the file does not say.
type Global struct {
	File string // empty when there is no file

	Detach   Detach
	Runtime  string // empty, or one of the Runtime constants
	Limits   Limits
	Policy   policy.Mode // for runs whose file does not choose one; empty where the person does not say
	Egress   Egress
	Terminal Terminal
	Audit    Audit

	Positions Positions
}

// Audit says what the audit record has beyond what it always has.
type Audit struct {
	// Input enters digests of what is typed. Either file can turn it on, and none can turn it off for the other.
	Input bool
}

// Detach says how a client leaves a run or stops it.
type Detach struct {
	// Keys is the prefix that announces a detach or stop key.
	Keys Keys
	// StopWindow is how soon a second Ctrl+C must follow the first to stop
	// the run. Within [MinStopWindow] and [MaxStopWindow].
	StopWindow time.Duration
}

// Terminal says what runs may do to the person's terminal, and who decides about theirs.
type Terminal struct {
	// Allow lists what a program may do beyond what is always allowed: words of [TerminalRights].
	Allow []string
	// Smallest makes a run's terminal as small as the smallest that shows it; otherwise it is as large as that of
	// the client which was active last.
	Smallest bool
}

// TerminalRights are the words of terminal.allow.
func TerminalRights() []string { return []string{"clipboard", "colours", "images", "notifications"} }

// DefaultGlobal returns the settings of a person who has no config.yaml.
func DefaultGlobal() *Global {
	return &Global{Detach: Detach{Keys: Keys{0x1f}, StopWindow: time.Second}}
}

// Tools says which tool folders of the person are visible in the sandbox besides
// those that moat finds by itself.
type Tools struct {
	// None turns off all of them; Paths is then empty.
	None bool
	// Paths are clean, absolute or beginning with "~/"; see [ResolvePath].
	Paths []string
}

// Position is a place in a file; line and column count characters from 1.
type Position struct {
	File         string
	Line, Column int
}

// String returns file:line:column, or an empty string for the zero Position.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Positions maps the path of a value, such as "name", "limits.memory",
// "env.HOME" or "mounts[1]", to where it was written. A path that is not in the
// file gives the zero Position.
type Positions map[string]Position

// Parse reads the text of an agent.yaml. The name is used in messages only. An
// empty text is a valid file that asks for nothing. Every problem in the text
// is reported in one [*Error], which is the only kind of error.
func Parse(name string, data []byte) (*Agent, error) {
	agent := &Agent{File: name, Positions: Positions{}}
	d := newDecoder(name, data, agent.Positions)
	decode(d, agentSchema(), agent)
	if err := d.err(); err != nil {
		return nil, err
	}
	return agent, nil
}

// ParseGlobal is [Parse] for the text of a config.yaml.
func ParseGlobal(name string, data []byte) (*Global, error) {
	global := DefaultGlobal()
	global.File, global.Positions = name, Positions{}
	d := newDecoder(name, data, global.Positions)
	decode(d, globalSchema(), global)
	if err := d.err(); err != nil {
		return nil, err
	}
	return global, nil
}
