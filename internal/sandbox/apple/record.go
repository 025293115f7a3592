package apple

import "moat/internal/sandbox"

// Names in Ref.Dir. What the person may want to see afterwards is in homeDir alone.
const (
	lockName   = "lock"    // held by every process that changes the container, the command's own too
	programDir = "program" // what is insideDir: moat's guest, and nothing else
	homeDir    = "home"    // the home directory inside
)

// record is what Start leaves in Ref.Dir for whoever must find the sandbox again. It is written before the command is asked
// for anything: without one, there is no container.
type record struct {
	Command string         `json:"command"` // the program that was asked, whatever the next moat's PATH says
	Name    string         `json:"name"`    // the container's
	Report  sandbox.Report `json:"report"`
}
