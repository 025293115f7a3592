// Package native makes sandboxes on Linux from the kernel's own parts: no daemon, no image, no need to be root.
//
// It promises that a sandbox sees the host's system directories, the workspace, what was mounted on purpose and
// nothing else; that it has no network but loopback; and that what Start made can be found and taken down from the
// run's Ref alone. docs/security.md says what is visible and which kernel feature holds each part of the wall.
// It leaves the commands inside to package guest and the life of a run to the supervisor.
//
// # How a sandbox starts
//
//	Start (the supervisor's process)              the guest (the same program, started as "guest")
//	  checks the specification, opens sources
//	  makes Ref.Dir and the socket
//	  clone into new namespaces ───────────────▶  PID 1 waits for a Boot on fd 3
//	  writes down who the guest is
//	  Boot ────────────────────────────────────▶  Boot.Enter: mounts
//	  cgroup, secrets of /etc ─────────────────▶  … takes them from fd 5: pivot_root, locks itself down, executes
//	                                              itself again: all threads of the second image are locked
//	  ◀──────────────────────────────── status    Boot.Enter returns at once; the guest serves on fd 4
//
// The writing end of fd 3 stays open in the process that called Start: as long as nothing was spawned, its end
// means that the sandbox has no owner and must go.
package native
