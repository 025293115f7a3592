package docker

import "moat/internal/sandbox"

// Names in Ref.Dir. What the person may want to see afterwards is in homeDir alone.
const (
	socketName = "guest.sock"
	logName    = "guest.log" // standard error of the guest
	homeDir    = "home"      // the home directory inside
	bootDir    = "boot"      // what the guest finds at insideBoot
	bootSocket = "sock"      // in it, until the guest has come
	bootHere   = "here"      // in its place, where the guest is reached by relays
)

// record is what Start leaves in Ref.Dir for whoever must find the sandbox again. It is written before the engine is asked
// for anything: without one, the engine has nothing.
type record struct {
	Endpoint  Endpoint       `json:"endpoint"`  // where the container is, whatever the next moat's environment says
	Image     string         `json:"image"`     // its id
	Container string         `json:"container"` // its id; empty: the engine was asked to make it, and has not answered
	PID       int            `json:"pid"`       // the guest's on this machine; 0: it has none, or has not said so
	Relayed   bool           `json:"relayed"`   // the guest is reached by relays and has no socket here
	Supplied  bool           `json:"supplied"`  // the engine was asked for a supplier, which may be left
	Report    sandbox.Report `json:"report"`
}
