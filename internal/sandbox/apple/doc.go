// Package apple makes sandboxes with Apple's container command (https://github.com/apple/container): each is a virtual machine of
// its own with Linux, whose first container process is the guest.
//
// It promises what package sandbox does. Walls are Apple's: the machine without any network card, and the kernel in it. It speaks to
// the command alone, as its reference and its source of version 1.0.0 and later say (docs/command-reference.md, Sources/ContainerCommands),
// and has been tried on a stand-in only, on no Mac. It does not match what the command prints for people: the exit code, and JSON.
//
// # How a guest is started
//
// No socket and no descriptor crosses into a virtual machine. The only stream there is, is the standard input and output of a
// process that "container exec" runs:
//
//	Start                                  container exec -i ──▶ guest relay         guest await
//	  container create, container start ─────────────────────────────────────────────▶ first process, root with NET_ADMIN,
//	                                                                                     listens at an abstract socket
//	  Boot (package box) ────────────────▶ stdin ──────────────▶ connects, copies ────▶ opens the door, becomes the user, gives
//	  ◀─────────────────────────────────── stdout ◀──────────────────────────────────── up the rest
//
// That connection stays open: its end tells a guest that was given no command yet that its owner is gone. The first Dial gets it,
// each later one another of its kind, and line.Open makes a line without descriptors of it. When a supervisor dies its connections
// end, and its successor dials anew.
//
// # Who says whether a sandbox lives
//
// "container list", for all of them at once: its answer says of a name that it runs, has ended, or is not there. A command that fails
// says nothing, so that is unknown, and never gone.
package apple
