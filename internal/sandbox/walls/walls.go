// Package walls tells what of the kernel holds a sandbox: not what was asked for, but what the kernel says of the
// sandbox's first process.
//
// It promises to name nothing that it did not find, and to need no rights that the owner of the process has not got;
// what cannot be looked at is left out. What a runtime alone knows is left to the runtime.
package walls

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Of looks at a process of this machine, in the order: namespaces that are not ours, no_new_privs, seccomp, capabilities.
// Where the kernel has no such files the list is empty.
func Of(pid int) []string {
	proc := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return nil
	}
	var found []string
	if names := namespaces(proc); len(names) > 0 {
		found = append(found, "namespaces "+strings.Join(names, " "))
	}
	return append(found, fromStatus(string(status))...)
}

// namespaces are those of a process that are not ours (namespaces(7)). Where its links cannot be read, as those of another
// user's or an unreadable process, none is named.
func namespaces(proc string) []string {
	var names []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		theirs, err := os.Readlink(filepath.Join(proc, "ns", name))
		if err != nil {
			continue
		}
		if ours, err := os.Readlink(filepath.Join("/proc/self/ns", name)); err == nil && ours != theirs {
			names = append(names, name)
		}
	}
	return names
}

// fromStatus reads a status file (proc_pid_status(5)).
func fromStatus(status string) []string {
	fields := map[string]string{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = strings.TrimSpace(value)
	}
	var found []string
	if fields["NoNewPrivs"] == "1" {
		found = append(found, "no_new_privs")
	}
	if fields["Seccomp"] == "2" { // SECCOMP_MODE_FILTER
		found = append(found, "seccomp filter")
	}
	switch bounding, effective := fields["CapBnd"], fields["CapEff"]; {
	case bounding == "" || effective == "":
	case strings.Trim(bounding+effective, "0") == "":
		found = append(found, "no capabilities")
	default:
		found = append(found, fmt.Sprintf("capabilities %s of %s", effective, bounding))
	}
	return found
}
