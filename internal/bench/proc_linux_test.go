package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// process is one of the machine's.
type process struct {
	pid, parent int
	args        []string // none of one that has ended and was not waited for
}

// is reports whether the process is that part of moat.
func (p process) is(part string) bool { return len(p.args) > 1 && p.args[1] == part }

// processes lists the machine's processes, except those that end meanwhile.
func processes(t testing.TB) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

func readProcess(pid int) (process, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return process{}, err
	}
	// The name in brackets may hold anything; the parent is the second field after it (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, err
	}
	line, err := os.ReadFile(dir + "cmdline")
	if err != nil {
		return process{}, err
	}
	args := strings.FieldsFunc(string(line), func(r rune) bool { return r == 0 })
	return process{pid, parent, args}, nil
}

// parts are the pids of a run's processes on the host's side and inside: guard, supervisor and guest.
func parts(t testing.TB, id string) map[string]int {
	t.Helper()
	found := make(map[string]int)
	all := processes(t)
	for _, p := range all {
		switch {
		case len(p.args) < 3 || p.args[2] != id:
		case p.is("supervise"):
			found["supervisor"] = p.pid
		case p.is("guard"):
			found["guard"] = p.pid
		}
	}
	for _, p := range all {
		if p.is("guest") && p.parent == found["supervisor"] {
			found["guest"] = p.pid
		}
	}
	if len(found) != 3 {
		t.Fatalf("of run %s there is only %v", id, found)
	}
	return found
}

// private is the memory that a process shares with nobody, in bytes. Reading that of a guest takes the rights of root.
func private(pid int) (int64, error) {
	return sumKilobytes(pid, "smaps_rollup", "Private_Clean:", "Private_Dirty:")
}

// peak is the most memory that a process has had at any time, in bytes, program text included.
func peak(pid int) (int64, error) { return sumKilobytes(pid, "status", "VmHWM:") }

// sumKilobytes adds up lines such as "VmHWM:  12 kB" of a file in /proc/pid.
func sumKilobytes(pid int, file string, names ...string) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return 0, err
	}
	var sum int64
	for line := range strings.Lines(string(text)) {
		for _, name := range names {
			rest, found := strings.CutPrefix(line, name)
			if !found {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/%s: %w", pid, file, err)
			}
			sum += n << 10
		}
	}
	return sum, nil
}
