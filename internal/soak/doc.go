// Package soak kills moat and looks at what is left. It is a room of tests only: they build the moat program, start
// real runs in a $MOAT_HOME of their own, and end clients, supervisors, guards and guests with SIGKILL at chosen or
// random moments.
//
// What it promises to check is what DESIGN says "always holds": no line of output lost, doubled or out of order,
// neither at the client nor in the record; exit codes and states that are true; nothing left behind, neither
// processes nor mounts, control groups, sockets or folders. A random case prints its seed when it fails;
// MOAT_SOAK_SEED repeats it, and MOAT_SOAK=n makes n cases of it. What one package does by itself is left to
// that package's tests.
package soak
