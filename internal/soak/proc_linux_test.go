package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// role is what a process is for a run.
type role string

const (
	roleClient     role = "client"
	roleGuard      role = "guard"
	roleSupervisor role = "supervisor"
	roleGuest      role = "guest"
	roleInside     role = "inside" // started by the guest
)

// proc is one process of a world, named for all time by its number and its start.
type proc struct {
	pid, parent int
	start       uint64
	role        role
	run         string // id, of supervisors and guests
	args        []string
}

func (p proc) String() string {
	return fmt.Sprintf("%s %d (parent %d) %q", p.role, p.pid, p.parent, p.args)
}

// procs finds every process of the world: those whose program is the world's own link to moat, those that a guest.json in
// its home names, those whose environment has the world's mark, and the descendants of all of these.
func (w *world) procs() []proc {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Errorf("read /proc: %v", err)
	}
	all := map[int]proc{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProc(pid); ok {
				all[pid] = p
			}
		}
	}
	guests := w.guests()
	var mine []proc
	known := map[int]bool{}
	for pid, p := range all {
		id, isGuest := guests[identity{pid, p.start}]
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // not ours to read, or gone
		switch {
		case isGuest:
			p.role, p.run = roleGuest, id
		case exe == w.moat:
			p.role, p.run = roleOf(p.args)
		case w.marked(pid):
			p.role = roleInside
		default:
			continue
		}
		known[pid] = true
		mine = append(mine, p)
	}
	for found := true; found; {
		found = false
		for pid, p := range all {
			if known[pid] || !known[p.parent] {
				continue
			}
			p.role = roleInside
			if i := slices.IndexFunc(mine, func(q proc) bool { return q.pid == p.parent }); mine[i].role != roleInside && len(p.args) == 2 && p.args[1] == "guest" {
				p.role = roleGuest
			}
			known[pid], found = true, true
			mine = append(mine, p)
		}
	}
	return mine
}

// roleOf tells a process by its arguments.
func roleOf(args []string) (role, string) {
	switch {
	case len(args) == 4 && args[1] == "guard":
		return roleGuard, args[2]
	case len(args) >= 4 && args[1] == "supervise":
		return roleSupervisor, args[2]
	case len(args) == 2 && args[1] == "guest":
		return roleGuest, ""
	default:
		return roleClient, ""
	}
}

// identity is a process for all time.
type identity struct {
	pid   int
	start uint64
}

// guests are those that the sandboxes of the world's runs name.
func (w *world) guests() map[identity]string {
	found := map[identity]string{}
	files, _ := filepath.Glob(filepath.Join(w.home, "runs", "*", "sandbox", "guest.json"))
	for _, name := range files {
		var rec struct {
			Process struct {
				PID   int
				Start uint64
			}
		}
		data, err := os.ReadFile(name)
		if err != nil || json.Unmarshal(data, &rec) != nil {
			continue // it is being removed
		}
		found[identity{rec.Process.PID, rec.Process.Start}] = filepath.Base(filepath.Dir(filepath.Dir(name)))
	}
	return found
}

// marked reports whether the process has the world's mark in its environment, which commands in its sandboxes have.
func (w *world) marked(pid int) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(kv []byte) bool { return string(kv) == w.mark() })
}

// readProc reads what everybody may know of a process. Zombies are none: somebody still has to read their exit status.
func readProc(pid int) (proc, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, false
	}
	// proc_pid_stat(5): the name in brackets may hold anything; state and parent come after it, the start is the 20th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return proc{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	start, serr := strconv.ParseUint(fields[19], 10, 64)
	cmdline, cerr := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if errors.Join(err, serr, cerr) != nil {
		return proc{}, false
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	return proc{pid: pid, parent: parent, start: start, args: args}, true
}

// kill ends exactly this process with SIGKILL; false if it had ended already.
func (p proc) kill(t *testing.T) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatalf("pidfd of %v: %v", p, err)
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); !ok || now.start != p.start {
		return false
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatalf("kill %v: %v", p, err)
	}
	return true
}

// killRoles ends every process of the world that has one of the roles, and returns how many there were.
func (w *world) killRoles(roles ...role) int {
	w.t.Helper()
	n := 0
	for _, p := range w.procs() {
		if slices.Contains(roles, p.role) && p.kill(w.t) {
			n++
		}
	}
	return n
}
