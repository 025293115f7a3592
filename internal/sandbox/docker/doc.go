// Package docker makes sandboxes with a container engine: Docker, or Podman's service for Docker's clients.
//
// It promises what package sandbox asks for, with the same guest, line and door as every runtime: the engine only makes the
// container and starts moat's guest in it. The container has no network of the engine's, publishes no port, and its log
// and the engine's "attach" and "exec" are not used. Images, and what they say of their commands, are the engine's; who
// reads that is package plan. docs/runtimes.md says how the sandboxes differ from native ones.
//
// # How a sandbox starts
//
//	Start (the supervisor's process)               the engine                the guest (moat, mounted into the container)
//	  makes Ref.Dir, the guest's socket, boot/sock
//	  create, start ──────────────────────────────▶ container ─────────────▶ PID 1, root with NET_ADMIN, connects to boot/sock
//	  Boot, the listening socket, the trusted roots ────────────────────────▶ opens the door, becomes the user, gives up the rest
//	  ◀──────────────────────────────────────────────────────────────── "ok", or what went wrong
//
// The connection stays open: its end tells a guest that was given no command yet that its owner is gone. boot/ is empty
// from then on, and all that the container sees of Ref.Dir besides the home directory. Supervisors reach the guest by its
// socket, which has no name inside; so a run goes on, and can be reached, while the engine is down.
//
// # Who says whether a sandbox lives
//
// The kernel, by the guest's socket: while somebody accepts there, it lives; when nobody can any more, it is gone. The
// engine is asked only where there is no such socket. What it cannot answer is unknown, and never gone.
package docker
