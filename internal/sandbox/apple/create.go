package apple

import (
	"encoding/base64"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// Paths inside.
const (
	insideDir  = "/.moat" // the folder programDir
	insideMoat = insideDir + "/moat"
)

// What moat's program is called with: as the first process, to reach that, and to tell what is only to be seen inside.
const (
	verbGuest   = "guest"
	guestAwait  = "await"
	guestRelay  = "relay"
	guestReport = "report"
)

// Labels of all that moat makes, by which it is found again. A label's value must not contain "=" (Parser.swift).
const (
	labelRun = "moat.run" // the run's id
	labelDir = "moat.dir" // the sandbox's folder, Ref.Dir, in base64
)

func labels(ref sandbox.Ref) map[string]string {
	return map[string]string{labelRun: ref.ID, labelDir: base64.RawURLEncoding.EncodeToString([]byte(ref.Dir))}
}

// refOf is whose sandbox a container is, by its labels; false if it is nobody's.
func refOf(labels map[string]string) (sandbox.Ref, bool) {
	dir, err := base64.RawURLEncoding.DecodeString(labels[labelDir])
	ref := sandbox.Ref{ID: labels[labelRun], Dir: string(dir)}
	return ref, err == nil && ref.Check() == nil
}

// containerName is what a run's container is called. There is only one of that name. What is before its first dot is the host name
// inside (SandboxService.swift, configureContainer), for which there is no option.
func containerName(spec sandbox.Spec) string {
	host := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, spec.Hostname)
	return strings.TrimLeft(host, "-_") + ".moat-" + spec.ID
}

// capabilities are what the first process starts with: Docker's default ones without those over the network. NET_ADMIN is the
// guest's, which gives it up before the first command.
func capabilities() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "SETFCAP", "SETGID", "SETPCAP",
		"SETUID", "SYS_CHROOT",
	}
}

// leastMemory is under what the command refuses to make a machine, in MiB (ContainersService.swift).
const leastMemory = 200

// createArgs are the arguments with which the command makes a container for spec. arch is as GOARCH.
func createArgs(spec sandbox.Spec, found box.Sources, arch string) ([]string, error) {
	args := []string{
		"create", "--name", containerName(spec), "--platform", "linux/" + arch,
		"--network", "none",
		"--dns", "127.0.0.1", "--dns-option", "timeout:1", "--dns-option", "attempts:1", // the door answers, wherever a question is sent
		"--uid", "0", "--gid", "0", // the guest's; it becomes the command's
		"--workdir", "/",
		"--entrypoint", insideMoat,
	}
	for _, name := range []string{labelRun, labelDir} {
		args = append(args, "--label", name+"="+labels(spec.Ref)[name])
	}
	args = append(args, "--cap-drop", "ALL")
	for _, name := range capabilities() {
		args = append(args, "--cap-add", name)
	}
	// What an image sets of Go's own variables is for the image's programs, not for the guest.
	for _, name := range []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"} {
		args = append(args, "--env", name+"=")
	}
	if l := spec.Limits; l.MemoryBytes > 0 {
		args = append(args, "--memory", fmt.Sprintf("%dM", max(leastMemory, (l.MemoryBytes+1<<20-1)>>20)))
	}
	if l := spec.Limits; l.CPUs > 0 {
		args = append(args, "--cpus", fmt.Sprint(int(math.Ceil(l.CPUs))))
	}
	mounts := []sandbox.Mount{
		{Source: filepath.Join(spec.Dir, programDir), Target: insideDir, ReadOnly: true},
		{Source: filepath.Join(spec.Dir, homeDir), Target: spec.User.Home},
		{Source: found.Workspace, Target: sandbox.WorkspaceDir},
	}
	for i, m := range spec.Mounts {
		mounts = append(mounts, sandbox.Mount{Source: found.Mounts[i], Target: m.Target, ReadOnly: m.ReadOnly})
	}
	for _, m := range mounts {
		arg, err := mountArgs(m)
		if err != nil {
			return nil, err
		}
		args = append(args, arg...)
	}
	return append(args, spec.Image.Ref, verbGuest, guestAwait), nil
}

// mountArgs ask for a mount. The command has two forms, of which one is cut at commas and equal signs, and the other at colons
// (Parser.swift); neither has a way to write those. Only the second takes a single file.
func mountArgs(m sandbox.Mount) ([]string, error) {
	if !strings.ContainsAny(m.Source+m.Target, ":") {
		arg := m.Source + ":" + m.Target
		if m.ReadOnly {
			arg += ":ro"
		}
		return []string{"--volume", arg}, nil
	}
	if !strings.ContainsAny(m.Source+m.Target, ",=") {
		arg := "type=bind,source=" + m.Source + ",target=" + m.Target
		if m.ReadOnly {
			arg += ",readonly"
		}
		return []string{"--mount", arg}, nil
	}
	return nil, fmt.Errorf("%w: mount %q at %q: Apple's container command takes no path with a colon if there is a comma or an equal sign too",
		sandbox.ErrSpec, m.Source, m.Target)
}

// report says which of the limits hold. The machine has no more memory and processors than it was given; the number of
// processes is the guest's to limit, of all who are not root.
func report(spec sandbox.Spec, user sandbox.User) sandbox.Report {
	var r sandbox.Report
	if l := spec.Limits.MemoryBytes; l > 0 {
		r.Memory = sandbox.Held
		if l < leastMemory<<20 {
			r.Memory = sandbox.HeldPartly
			r.Warnings = append(r.Warnings, fmt.Sprintf("the memory limit is %d MiB, because a virtual machine needs so much", leastMemory))
		}
	}
	if l := spec.Limits.CPUs; l > 0 {
		r.CPUs = sandbox.Held
		if l != math.Trunc(l) {
			r.CPUs = sandbox.HeldPartly
			r.Warnings = append(r.Warnings, fmt.Sprintf("the cpu limit is %d, because a virtual machine has whole processors", int(math.Ceil(l))))
		}
	}
	if r.PIDs = sandbox.Held; user.UID == 0 {
		r.PIDs = sandbox.NotHeld
	}
	if spec.Limits.PIDs > 0 && r.PIDs == sandbox.NotHeld {
		r.Warnings = append(r.Warnings, "the process limit is not held, because commands run as root")
	}
	return r
}
