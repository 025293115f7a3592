//go:build unix

package apple

import (
	"context"
	"errors"
	"fmt"
	"os"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// errOld is returned for a command of before version 1.0.
var errOld = errors.New("too old")

// Check implements sandbox.Runtime: the command is there, new enough, and its system is started; and moat has a guest for it.
// Whether the kernel of its machines can make a sandbox's door is seen when one starts.
func (r *Runtime) Check(ctx context.Context) error {
	c, err := r.find()
	if err == nil {
		err = c.usable(ctx)
	}
	if err == nil {
		err = r.checkProgram()
	}
	if err != nil {
		return diagnose(err)
	}
	return nil
}

func (c command) usable(ctx context.Context) error {
	out, err := c.run(ctx, call{args: []string{"--version"}})
	if err != nil {
		return err
	}
	major, version, err := parseVersion(string(out))
	if err != nil {
		return err
	}
	if major < oldest {
		return fmt.Errorf("container %s is %w: moat needs %d.0 or newer", version, errOld, oldest)
	}
	_, err = c.run(ctx, call{args: []string{"system", "status"}, verb: "system status"})
	var refused *commandError
	if errors.As(err, &refused) {
		return errStopped
	}
	return err
}

// checkProgram looks for the guest, and leaves nothing behind.
func (r *Runtime) checkProgram() error {
	if r.Exe != "" {
		_, err := os.Stat(r.Exe)
		return err
	}
	dir, err := os.MkdirTemp("", "moat-check-") // for the copy of a program whose file is gone
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_, err = box.Program(r.arch(), dir)
	return err
}

// diagnose finds out what is to blame, and what mends it.
func diagnose(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	u := &sandbox.Unavailable{Runtime: Name, Reason: cause.Error(), Instead: "docker"}
	var guest *box.GuestError
	switch {
	case errors.As(cause, &guest):
		u.Fix = guest.Fix()
	case errors.Is(cause, errNotInstalled):
		u.Fix = "on a Mac with Apple silicon and macOS 26 or newer:\n  brew install container   # or https://github.com/apple/container/releases\n  container system start"
	case errors.Is(cause, errOld):
		u.Fix = "brew upgrade container   # or https://github.com/apple/container/releases\ncontainer system stop; container system start\n" + kernelFix
	case errors.Is(cause, errStopped):
		u.Fix = "container system start"
	case errors.Is(cause, errSilent):
		u.Fix = "container system logs   # and perhaps: container system stop; container system start"
	case errors.Is(cause, errFormat):
		u.Fix = "a newer moat may know it"
	default:
		u.Fix = "container system status; container system logs"
	}
	return u
}
