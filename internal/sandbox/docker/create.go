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
)

// Labels of all that moat makes in an engine, by which it is found again.
const (
	labelRun = "moat.run" // the run's id
	labelDir = "moat.dir" // the sandbox's folder, Ref.Dir
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
func request(spec sandbox.Spec, found box.Sources, exe string, entry []string) createRequest {
	req := createRequest{
		Hostname: spec.Hostname,
		User:     "0:0", // the guest's; it becomes the command's
		// What an image sets of Go's own variables is for the image's programs, not for the guest.
		Env:         []string{"GODEBUG=", "GOGC=", "GOMAXPROCS=", "GOMEMLIMIT=", "GOTRACEBACK="},
		Image:       spec.Image.Digest,
		Entrypoint:  append([]string{insideMoat}, entry...),
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
	bind := func(source, target string, readOnly bool) {
		h.Mounts = append(h.Mounts, mount{
			Type: "bind", Source: source, Target: target, ReadOnly: readOnly, BindOptions: bindOptions{Propagation: "rprivate"},
		})
	}
	bind(exe, insideMoat, true)
	bind(filepath.Join(spec.Dir, bootDir), insideBoot, true)
	bind(filepath.Join(spec.Dir, homeDir), spec.User.Home, false)
	bind(found.Workspace, sandbox.WorkspaceDir, false)
	for i, m := range spec.Mounts {
		bind(found.Mounts[i], m.Target, m.ReadOnly)
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
func (i info) rootless() bool { return slices.Contains(i.SecurityOptions, "name=rootless") }
