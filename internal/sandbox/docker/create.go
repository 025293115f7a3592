package docker

import (
	"cmp"
	"path/filepath"
	"slices"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// Paths inside.
const (
	insideMoat = "/.moat/moat" // this program
	insideBoot = "/.moat/boot" // the folder with the socket at which the guest learns what to do

	programFolder = "/.moat/program" // where this program is in its place, if it is in a volume
	insideProgram = programFolder + "/moat"
)

// Labels of all that moat makes in an engine, by which it is found again.
const (
	labelRun = "moat.run" // the run's id
	labelDir = "moat.dir" // the sandbox's folder, Ref.Dir

	labelProgram = "moat.program" // of a volume with this program
)

func labels(ref sandbox.Ref) map[string]string {
	return map[string]string{labelRun: ref.ID, labelDir: ref.Dir}
}

// containerName is what a run's container is called. An engine has only one of that name.
func containerName(ref sandbox.Ref) string { return "moat-" + ref.ID }

// capabilities that a container starts with: Docker's default ones without those over the network. NET_ADMIN is the guest's,
// which gives it up before the first command.
func capabilities() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "SETFCAP", "SETGID", "SETPCAP",
		"SETUID", "SYS_CHROOT",
	}
}

// masked are Docker's masked paths (moby/profiles and daemon/pkg/oci, "DefaultLinuxSpec"), and what else of /proc is about the
// machine and readable by root alone: root inside is root to these files.
func masked() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/key-users", "/proc/keys", "/proc/kmsg",
		"/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/modules", "/proc/mtrr",
		"/proc/pagetypeinfo", "/proc/sched_debug", "/proc/scsi", "/proc/slabinfo", "/proc/timer_list", "/proc/timer_stats",
		"/proc/vmallocinfo", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// request is what the engine is asked to make for spec, whose sources have been looked at. exe is this program, for Linux.
func request(spec sandbox.Spec, found box.Sources, exe string) createRequest {
	req := usualRequest(spec, found)
	req.Entrypoint = []string{insideMoat, "guest", insideBoot + "/" + bootSocket}
	req.HostConfig.bind(exe, insideMoat, true)
	return req
}

// relayedRequest is request for a guest that is reached by relays, with this program in a volume.
func relayedRequest(spec sandbox.Spec, found box.Sources, volume string) createRequest {
	req := usualRequest(spec, found)
	req.Entrypoint = []string{insideProgram, "guest", "await"}
	req.HostConfig.Mounts = append(req.HostConfig.Mounts, programVolume(volume, true))
	return req
}

// supplierName is what the container is called that a volume is filled by way of.
func supplierName(ref sandbox.Ref) string { return containerName(ref) + "-supplier" }

// supplier is what an engine is asked to make to fill a volume. It never runs.
func supplier(spec sandbox.Spec, volume string) createRequest {
	req := placeholder(spec.Ref, spec.Image.Digest)
	req.HostConfig.Mounts = []mount{programVolume(volume, false)}
	return req
}

func programVolume(name string, readOnly bool) mount {
	return mount{
		Type: "volume", Source: name, Target: programFolder, ReadOnly: readOnly,
		VolumeOptions: &volumeOptions{NoCopy: true, Labels: map[string]string{labelProgram: name}},
	}
}

// bind lets a container see a folder or file of the engine's machine.
func (h *hostConfig) bind(source, target string, readOnly bool) {
	h.Mounts = append(h.Mounts, mount{
		Type: "bind", Source: source, Target: target, ReadOnly: readOnly, BindOptions: &bindOptions{Propagation: "rprivate"},
	})
}

// usualRequest is a request without an entry point and without this program.
func usualRequest(spec sandbox.Spec, found box.Sources) createRequest {
	req := createRequest{
		Hostname: spec.Hostname,
		User:     "0:0", // the guest's; it becomes the command's
		// What an image sets of Go's own variables is for the image's programs, not for the guest.
		Env:         []string{"GODEBUG=", "GOGC=", "GOMAXPROCS=", "GOMEMLIMIT=", "GOTRACEBACK="},
		Image:       spec.Image.Digest,
		WorkingDir:  cmp.Or(spec.Image.Dir, "/"), // which the engine makes
		Labels:      labels(spec.Ref),
		StopSignal:  "SIGKILL", // the guest hears no other
		Healthcheck: healthcheck{Test: []string{"NONE"}},
		HostConfig: hostConfig{
			NetworkMode:  "none",
			IpcMode:      "private",
			CgroupnsMode: "private",
			UsernsMode:   "host", // where the engine maps users, files would belong to nobody
			CapDrop:      []string{"ALL"},
			CapAdd:       capabilities(),
			SecurityOpt:  []string{"no-new-privileges"},
			MaskedPaths:  masked(),
			// Engines switch IPv6 off where they give no IPv6 network. The door has one.
			Sysctls:    map[string]string{"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.lo.disable_ipv6": "0"},
			PidsLimit:  int64(spec.Limits.PIDs),
			Ulimits:    []ulimit{{Name: "core"}},
			LogConfig:  logConfig{Type: "none"},
			Dns:        []string{"127.0.0.1"}, // the door answers, wherever a question is sent
			DnsOptions: []string{"timeout:1", "attempts:1"},
			DnsSearch:  []string{"."}, // none
		},
	}
	h := &req.HostConfig
	if h.PidsLimit == 0 {
		h.PidsLimit = sandbox.DefaultPIDs
	}
	h.NanoCpus = int64(spec.Limits.CPUs * 1e9)
	h.Memory, h.MemorySwap = spec.Limits.MemoryBytes, spec.Limits.MemoryBytes // no swap
	h.bind(filepath.Join(spec.Dir, bootDir), insideBoot, true)
	h.bind(filepath.Join(spec.Dir, homeDir), spec.User.Home, false)
	h.bind(found.Workspace, sandbox.WorkspaceDir, false)
	for i, m := range spec.Mounts {
		h.bind(found.Mounts[i], m.Target, m.ReadOnly)
	}
	return req
}

// placeholder asks for as little as an engine makes.
func placeholder(ref sandbox.Ref, image string) createRequest {
	return createRequest{
		Image: image, Entrypoint: []string{insideMoat}, Labels: labels(ref), StopSignal: "SIGKILL",
		Healthcheck: healthcheck{Test: []string{"NONE"}},
		HostConfig:  hostConfig{NetworkMode: "none", CapDrop: []string{"ALL"}, LogConfig: logConfig{Type: "none"}, PidsLimit: 1},
	}
}

// rootless tells whether root of the engine's containers is the user that the engine runs as.
func (i info) rootless() bool { return slices.Contains(i.SecurityOptions, nameRootless) }

const nameRootless = "name=rootless"

// goArch is the engine's architecture as Go calls it (/info has the kernel's name for it, uname(2)).
func (i info) goArch() string {
	switch i.Architecture {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return i.Architecture
}
