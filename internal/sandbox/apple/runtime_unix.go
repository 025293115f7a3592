//go:build unix

package apple

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"
	"time"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// Name is what this runtime is called.
const Name = "apple"

// A Runtime makes sandboxes with Apple's container command. The zero value is ready; it must not be copied after first use.
type Runtime struct {
	Env  Lookup // where the command is looked for, and what it is told of the environment; nil: the usual places, and nothing
	Exe  string // moat for Linux, to start as "Exe guest"; empty: the one that lies beside this program
	Arch string // processor of the machines, as GOARCH; empty: that of Macs

	mu    sync.Mutex          // guards owned
	owned map[string]*relayed // by Ref.Dir: the connections on which guests were started
}

var _ sandbox.Runtime = (*Runtime)(nil)

// hold keeps the connection on which a guest was started, whose end would tell the guest that this process is gone.
func (r *Runtime) hold(dir string, conn *relayed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owned == nil {
		r.owned = make(map[string]*relayed)
	}
	r.owned[dir] = conn
}

// letGo returns what hold keeps, and keeps it no longer; nil: nothing is kept.
func (r *Runtime) letGo(dir string) *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	conn := r.owned[dir]
	delete(r.owned, dir)
	return conn
}

func (r *Runtime) arch() string { return cmp.Or(r.Arch, "arm64") }

// find returns the command to make new sandboxes with.
func (r *Runtime) find() (command, error) {
	env := r.Env
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	return find(env)
}

// commandOf returns the command that a sandbox was made with, and its record; fs.ErrNotExist if none was asked for it.
func (r *Runtime) commandOf(ref sandbox.Ref) (command, record, error) {
	rec, err := sandbox.ReadRecord[record](ref)
	if err != nil && !errors.Is(err, sandbox.ErrTorn) { // a torn one is of before a crash: the command of now knows the same
		return command{}, rec, err
	}
	c, err := r.find()
	if rec.Command != "" {
		c.path, err = rec.Command, nil
	}
	return c, rec, err
}

// State implements sandbox.Runtime.
func (r *Runtime) State(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	state, err := r.state(ctx, ref)
	if err != nil {
		return state, fmt.Errorf("state of sandbox %s: %w", ref.ID, err)
	}
	return state, nil
}

func (r *Runtime) state(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	if err := ref.Check(); err != nil {
		return sandbox.Unknown, err
	}
	c, _, err := r.commandOf(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return sandbox.Gone, nil
	}
	if err != nil {
		return sandbox.Unknown, err
	}
	found, err := c.container(ctx, ref)
	if errors.Is(err, sandbox.ErrGone) {
		return sandbox.Gone, nil
	}
	if err != nil {
		return sandbox.Unknown, err
	}
	return life(string(found.Status))
}

// list returns all containers, also those that are not moat's.
func (c command) list(ctx context.Context) ([]listed, error) {
	out, err := c.ask(ctx, call{args: []string{"list", "--all", "--format", "json"}})
	if err != nil {
		return nil, err
	}
	return parseList(out)
}

// container returns the container of a sandbox, or ErrGone.
func (c command) container(ctx context.Context, ref sandbox.Ref) (listed, error) {
	all, err := c.list(ctx)
	if err != nil {
		return listed{}, err
	}
	if i := slices.IndexFunc(all, madeFor(ref)); i >= 0 {
		return all[i], nil
	}
	return listed{}, sandbox.ErrGone
}

func madeFor(ref sandbox.Ref) func(listed) bool {
	return func(l listed) bool {
		of, ours := refOf(l.Configuration.Labels)
		return ours && of == ref
	}
}

// Dial implements sandbox.Runtime.
func (r *Runtime) Dial(ctx context.Context, ref sandbox.Ref) (net.Conn, error) {
	conn, err := r.dial(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, err)
	}
	return conn, nil
}

func (r *Runtime) dial(ctx context.Context, ref sandbox.Ref) (net.Conn, error) {
	if err := ref.Check(); err != nil {
		return nil, err
	}
	c, rec, err := r.commandOf(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sandbox.ErrGone
	}
	if err == nil && rec.Name == "" { // it is torn
		var l listed
		l, err = c.container(ctx, ref)
		rec.Name = l.Configuration.ID
	}
	if err != nil {
		return nil, err
	}
	// The first to dial gets the connection that is there.
	conn := r.letGo(ref.Dir)
	if conn == nil {
		conn, err = c.relay(ctx, rec.Name)
	} else if err = box.MakeLine(conn); err != nil {
		_ = conn.Close()
	}
	if err == nil {
		err = conn.await(ctx)
	}
	if err == nil {
		return conn, nil
	}
	// The command says only in words why it ran nothing.
	if state, stateErr := r.state(ctx, ref); stateErr == nil && state == sandbox.Gone {
		return nil, sandbox.ErrGone
	}
	return nil, err
}

// A relayed connection leads to the guest. What it says first has been waited for.
type relayed struct {
	*stream
	r *bufio.Reader
}

func (c *relayed) Read(p []byte) (int, error) { return c.r.Read(p) }

// relay starts what leads to the guest of a container. Whether it arrives is not known yet.
func (c command) relay(ctx context.Context, name string) (*relayed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.open("exec", "--interactive", "--uid", "0", "--gid", "0", name, insideMoat, verbGuest, guestRelay)
	if err != nil {
		return nil, err
	}
	return &relayed{stream: s, r: bufio.NewReader(s)}, nil
}

// await returns when the guest has begun to speak; if it does not, it closes the connection.
func (c *relayed) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, errSilent)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	_, err := c.r.Peek(1)
	if err == nil && stop() {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if end := c.end(ctx); end != nil {
		err = end
	}
	return errors.Join(err, c.Close())
}

// Report implements sandbox.Runtime. What is only to be seen inside is missing where nobody can look there any more.
func (r *Runtime) Report(ctx context.Context, ref sandbox.Ref) (sandbox.Report, error) {
	c, rec, err := r.commandOf(ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = sandbox.ErrGone
	}
	if err != nil {
		return sandbox.Report{}, fmt.Errorf("report on sandbox %s: %w", ref.ID, err)
	}
	out, err := c.run(ctx, call{args: []string{"exec", "--uid", "0", "--gid", "0", rec.Name, insideMoat, verbGuest, guestReport}})
	var found box.Found
	if err == nil && json.Unmarshal(out, &found) == nil {
		rec.Report.OOMKills, rec.Report.Walls = found.OOMKills, found.Walls
	}
	return rec.Report, nil
}

// Remove implements sandbox.Runtime. It keeps the home directory, and Ref.Dir for it, if something is in it.
func (r *Runtime) Remove(ctx context.Context, ref sandbox.Ref) error {
	if err := ref.Check(); err != nil {
		return err
	}
	if conn := r.letGo(ref.Dir); conn != nil { // or it would be in the way
		_ = conn.Close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, removeTime, errSilent)
	defer cancel()
	held, err := lock(ctx, ref.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove sandbox %s: %w", ref.ID, err)
	}
	defer held.Close()
	c, _, err := r.commandOf(ref)
	switch {
	case err == nil:
		err = c.remove(ctx, madeFor(ref), call{hold: held})
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = box.Clear(ref.Dir, homeDir)
	}
	if err != nil {
		return fmt.Errorf("remove sandbox %s: %w", ref.ID, err)
	}
	return nil
}

// remove ends and removes a container, and returns when there certainly is none like it. with is how the command is called.
func (c command) remove(ctx context.Context, which func(listed) bool, with call) error {
	var last error
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		all, err := c.list(ctx)
		if err != nil {
			return errors.Join(err, last)
		}
		i := slices.IndexFunc(all, which)
		if i < 0 {
			return nil
		}
		name := all[i].Configuration.ID
		// Deleting gives it seconds to end by itself, for which the guest has no use. Both may fail while it ends meanwhile; that
		// is seen when it is looked for again.
		if state, _ := life(string(all[i].Status)); state != sandbox.Gone {
			with.args = []string{"kill", "--signal", "KILL", name}
			_, last = c.run(ctx, with)
		}
		with.args, with.time = []string{"delete", "--force", name}, removeTime
		if _, err = c.run(ctx, with); err != nil {
			last = err
			if err := pause(ctx, wait); err != nil {
				return errors.Join(err, last)
			}
		}
	}
}
