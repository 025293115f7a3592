package native

import (
	"math"
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// fallback is what the guest limits itself where no cgroup could be made. Zero means nothing to do.
type fallback struct {
	MemoryBytes int64 `json:"memory_bytes,omitempty"` // RLIMIT_DATA, per process
	CPUs        int   `json:"cpus,omitempty"`         // processors that may be used
	PIDs        int   `json:"pids,omitempty"`         // RLIMIT_NPROC, counted per user namespace since Linux 5.14
}

// fallBack decides what to do about limits that report does not call held, and writes that into report.
// kernelRoot says that processes run as the user that the kernel exempts from RLIMIT_NPROC (uid 0 of the machine).
func fallBack(l sandbox.Limits, report *sandbox.Report, kernelRoot bool) fallback {
	var f fallback
	warn := func(s string) { report.Warnings = append(report.Warnings, s) }
	if l.MemoryBytes > 0 && report.Memory == sandbox.NotHeld {
		f.MemoryBytes = l.MemoryBytes
		report.Memory = sandbox.HeldPartly
		warn("the memory limit holds for each process alone, because no memory cgroup is delegated to you")
	}
	if l.CPUs > 0 && report.CPUs == sandbox.NotHeld {
		f.CPUs = int(math.Ceil(l.CPUs))
		report.CPUs = sandbox.HeldPartly
		warn("the cpu limit is rounded up to whole processors and a process can lift it, because no cpu cgroup is delegated to you")
	}
	if report.PIDs == sandbox.NotHeld {
		f.PIDs = l.PIDs
		report.PIDs = sandbox.Held
		if kernelRoot {
			report.PIDs = sandbox.NotHeld
			warn("the number of processes is not limited, because there is no pids cgroup and the kernel does not count root's")
		}
	}
	return f
}

// reserve is what a Go program, the guest for one, maps and does not use: it counts for RLIMIT_DATA.
const reserve = 128 << 20

// apply sets the limits for the calling process; hard ones, so that nothing inside can lift them.
func (f fallback) apply() error {
	set := func(resource int, value uint64) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return err
		}
		value = min(value, now.Max)
		return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
	}
	if f.MemoryBytes > 0 {
		if err := set(unix.RLIMIT_DATA, uint64(f.MemoryBytes)+reserve); err != nil {
			return err
		}
	}
	if f.PIDs > 0 {
		if err := set(unix.RLIMIT_NPROC, uint64(f.PIDs)); err != nil {
			return err
		}
	}
	if f.CPUs > 0 {
		if err := useProcessors(f.CPUs); err != nil {
			return err
		}
	}
	return set(unix.RLIMIT_CORE, 0) // a core file could hold what the guest must not tell
}

// useProcessors binds the calling thread, and what it starts, to n of the processors that it may use now. Which ones
// is left to chance, so that many sandboxes do not share one.
func useProcessors(n int) error {
	var have, want unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return err
	}
	var usable []int
	for cpu := range len(have) * 64 {
		if have.IsSet(cpu) {
			usable = append(usable, cpu)
		}
	}
	rand.Shuffle(len(usable), func(i, j int) { usable[i], usable[j] = usable[j], usable[i] })
	for _, cpu := range usable[:min(n, len(usable))] {
		want.Set(cpu)
	}
	return unix.SchedSetaffinity(0, &want)
}
