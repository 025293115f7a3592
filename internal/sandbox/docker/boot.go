package docker

import "moat/internal/sandbox"

// Boot is what Start tells the guest: one JSON object on the connection that the guest makes when it begins. Before it comes
// one byte with two descriptors, the guest's listening socket and its log.
type Boot struct {
	Secret    []byte       `json:"secret"`
	ID        string       `json:"id"`
	User      sandbox.User `json:"user"`       // whom commands run as
	ImageUser string       `json:"image_user"` // in the place of User's numbers, if it is not empty
	Network   bool         `json:"network"`    // open the door
	Roots     []byte       `json:"roots"`      // what the sandbox trusts; empty: what the image does
	Root      []byte       `json:"root"`       // the run's own root alone
	SSHAgent  bool         `json:"ssh_agent"`  // open the socket of the ssh agent
	Known     []byte       `json:"known"`      // lines for ssh about keys of hosts
}

// bootReady is the guest's answer when it can be dialled. Any other line says what went wrong.
const bootReady = "ok"

// bootDescriptors are how many come with the first byte.
const bootDescriptors = 2
