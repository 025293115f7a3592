// Package term is your terminal, as a client needs it: what you type, the terminal's modes, and what may be shown.
//
// It has three parts that do not know each other:
//
//   - [Keys] finds the detach and stop keys in what a person types, in every encoding that a terminal may use, and
//     passes everything else on, unchanged and undelayed.
//   - [Terminal] puts the person's terminal in raw mode and gives it back as it was, whatever happens, also when
//     the client itself is killed.
//   - [Filter] lets through what a program in a sandbox may do to the person's terminal, and knows at every moment
//     which bytes undo what was done to it.
//
// It promises that a terminal is given back with the settings that it had, that nothing outside the table in
// docs/terminal-output.md reaches it, and that no key is lost, doubled or held back except those that may be commands.
//
// It keeps no screen (that is internal/vt), and it leaves to its caller what a command means, what is printed, and who
// answers a terminal's queries.
package term

//go:generate go test -run=TestOutputDocument -update .
