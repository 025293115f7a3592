package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"moat/internal/sandbox"
)

// Boot is what a guest must know before it can be dialled. How it gets there is the runtime's business.
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
	Filter    bool         `json:"filter"`     // put the system call filter in force: nobody else has
	Hostname  string       `json:"hostname"`   // for /etc/hostname; empty: that is right already
	Dir       string       `json:"dir"`        // made if it is not there; empty: nothing is
	PIDs      int          `json:"pids"`       // how many processes commands may have; 0: the guest does not limit them
	Here      Here         `json:"here"`       // how to know whether the folders of the sandbox are those of who makes it
}

// Here is a file that shows whose folders a container sees. Without a path nothing is looked at.
type Here struct {
	Path    string `json:"path"` // inside
	Content string `json:"content"`
}

// ErrNotHere is returned for a sandbox that would see folders of another machine.
var ErrNotHere = errors.New("the folders are not those of the machine that makes the sandbox")

// Check looks at the file, inside.
func (h Here) Check() error {
	if h.Path == "" {
		return nil
	}
	if got, err := os.ReadFile(h.Path); err != nil || string(got) != h.Content {
		return ErrNotHere
	}
	return nil
}

// NewBoot collects what the guest must know of spec. Who commands run as is decided when the engine has said what it is.
func NewBoot(ctx context.Context, spec sandbox.Spec) (Boot, error) {
	b := Boot{Secret: spec.Secret, ID: spec.ID, Network: spec.Network, SSHAgent: spec.SSHAgent}
	if spec.TrustFile == "" {
		return b, nil
	}
	var err error
	if spec.Trusted != nil {
		if err = spec.Trusted(ctx); err != nil {
			return b, err
		}
	}
	if b.Roots, err = os.ReadFile(spec.TrustFile); err != nil {
		return b, fmt.Errorf("roots to trust: %w", err)
	}
	if b.Root, err = os.ReadFile(filepath.Join(filepath.Dir(spec.TrustFile), "root.pem")); err != nil {
		return b, fmt.Errorf("roots to trust: %w", err)
	}
	if spec.KnownHostsFile != "" {
		if b.Known, err = os.ReadFile(spec.KnownHostsFile); err != nil {
			return b, fmt.Errorf("hosts that ssh knows: %w", err)
		}
	}
	return b, nil
}

// CommandUser decides who commands run as. Files that they make in the workspace must belong to the person: with an engine
// that runs as the person, root inside is the person; otherwise the person's own number is. Only where the person is root,
// who may run as anybody, the image's wish counts.
func CommandUser(spec sandbox.Spec, rootless bool) (user sandbox.User, image string) {
	user = spec.User
	switch {
	case rootless:
		user.UID, user.GID = 0, 0
	case user.UID == 0:
		image = spec.Image.User
	}
	return user, image
}

// Found is what of a report is to be seen inside: a program of moat's that is started there prints it.
type Found struct {
	OOMKills int      `json:"oom_kills"`
	Walls    []string `json:"walls"`
}
