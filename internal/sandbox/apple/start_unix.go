//go:build unix

package apple

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// Start implements sandbox.Runtime. Leftovers of an earlier start in spec.Dir are removed first, except the home directory.
func (r *Runtime) Start(ctx context.Context, spec sandbox.Spec) error {
	return sandbox.Start(ctx, r, spec, sandbox.Steps{Check: checkSpec, Start: r.start})
}

// checkSpec wants an image whose meaning was settled.
func checkSpec(spec sandbox.Spec) error {
	switch {
	case spec.Image.Ref == "" || spec.Image.Digest == "" || strings.HasPrefix(spec.Image.Ref, "-"):
		return fmt.Errorf("%w: the apple runtime needs an image", sandbox.ErrSpec)
	case len(spec.Tools) > 0:
		return fmt.Errorf("%w: the apple runtime shows no tools of the host", sandbox.ErrSpec)
	}
	return nil
}

// start makes the sandbox. What it made is left to Remove if it fails.
func (r *Runtime) start(ctx context.Context, spec sandbox.Spec) error {
	found, err := box.Look(spec)
	if err != nil {
		return err
	}
	args, err := createArgs(spec, found, r.arch())
	if err != nil {
		return err
	}
	c, err := r.find()
	if err != nil {
		return err
	}
	user, imageUser := box.CommandUser(spec, false) // root of a machine is nobody on the host
	rec := record{Command: c.path, Name: containerName(spec), Report: report(spec, user)}
	if err := r.prepare(spec, rec); err != nil {
		return err
	}
	if err := c.make(ctx, spec, args); err != nil {
		return err
	}
	boot, err := box.NewBoot(ctx, spec)
	if err != nil {
		return err
	}
	boot.User, boot.ImageUser, boot.Dir = user, imageUser, spec.Image.Dir
	boot.Filter = true
	boot.Hostname, boot.PIDs = spec.Hostname, cmp.Or(spec.Limits.PIDs, sandbox.DefaultPIDs)
	stream, err := c.relay(ctx, rec.Name)
	if err != nil {
		return err
	}
	warning, err := handOver(ctx, stream, boot)
	if err != nil {
		return c.explain(ctx, rec.Name, errors.Join(err, stream.Close()))
	}
	r.hold(spec.Dir, stream)
	if warning == "" {
		return nil
	}
	rec.Report.Warnings = append(rec.Report.Warnings, warning)
	return sandbox.WriteRecord(spec.Ref, rec)
}

// prepare makes Ref.Dir and what belongs in it.
func (r *Runtime) prepare(spec sandbox.Spec, rec record) error {
	program := filepath.Join(spec.Dir, programDir)
	for _, dir := range []string{spec.Dir, filepath.Join(spec.Dir, homeDir), program} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	exe, err := r.program(spec.Dir)
	if err != nil {
		return err
	}
	// A copy: what a sandbox can reach is not what others start.
	if err := copyFile(filepath.Join(program, filepath.Base(insideMoat)), exe); err != nil {
		return fmt.Errorf("copy moat's guest: %w", err)
	}
	return sandbox.WriteRecord(spec.Ref, rec)
}

// program is the file that becomes the first process.
func (r *Runtime) program(dir string) (string, error) {
	if r.Exe != "" {
		return filepath.Abs(r.Exe)
	}
	return box.Program(r.arch(), dir)
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// make makes and starts the container.
func (c command) make(ctx context.Context, spec sandbox.Spec, args []string) error {
	held, err := lock(ctx, spec.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if _, err := c.ask(ctx, call{args: args, time: startTime, hold: held}); err != nil {
		return fmt.Errorf("make a container of image %s: %w", spec.Image.Ref, err)
	}
	// An image is asked for by its name, which may have come to mean another one.
	made, err := c.container(ctx, spec.Ref)
	if err != nil {
		return fmt.Errorf("look at the new container: %w", err)
	}
	if got := made.Configuration.Image.Descriptor.Digest; got != spec.Image.Digest {
		return fmt.Errorf("image %s is another one now: %s instead of %s", spec.Image.Ref, got, spec.Image.Digest)
	}
	if _, err := c.ask(ctx, call{args: []string{"start", containerName(spec)}, time: startTime, hold: held}); err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	return nil
}

// handOver tells the guest what to do and waits until it has done it.
func handOver(ctx context.Context, conn *relayed, boot box.Boot) (warning string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, errSilent)
	defer cancel()
	warning, err = boot.HandOver(ctx, conn)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the guest ended before it was ready: %w", cmp.Or(conn.end(ctx), err))
	}
	return warning, err
}

// kernelFix gets the kernel that belongs to the command. An upgrade keeps the one that is there, and old ones have no nftables, of
// which the door is made (https://github.com/apple/container/issues/2120).
const kernelFix = "container system kernel set --recommended --force"

// explain adds the end of what the first process printed to err.
func (c command) explain(ctx context.Context, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, box.ErrDoor):
		return fmt.Errorf("%w; if the kernel of Apple's machines is an old one, this gets a new one:\n  %s", err, kernelFix)
	}
	out, logErr := c.run(ctx, call{args: []string{"logs", name}})
	if text := strings.TrimSpace(string(out)); logErr == nil && text != "" {
		return fmt.Errorf("%w (the guest printed: %q)", err, text[max(0, len(text)-1000):])
	}
	return err
}
