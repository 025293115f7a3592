// Package guest is moat inside a sandbox: its first process, which starts commands and holds what they print.
//
// It promises that a command never notices the death of a supervisor: the guest keeps the command's streams or
// terminal, its output until somebody recorded it, its input until the command took it, and its exit status
// until it is released. It ends with everything in the sandbox when the run's command has ended and was released.
//
// It decides nothing. What may run, what is recorded, when to stop: that is the supervisor's side of the line
// (package line), which is the only one that may speak to it. Making and locking the sandbox is the runtime's
// (package sandbox), done before Serve.
//
// # Ends
//
// Main has ended when its process has ended and its output is read to the end. What it left behind then ends
// too, as in a container, but gets a moment (lastWords) to finish printing, so that "… > >(tee log)" loses nothing.
// Another command (moat exec) may leave processes behind that go on, for example a server. If they still hold its
// output after the moment, its Exit says so (Cut), and what they print from then on goes nowhere; on a terminal
// they lose the terminal, as when its window is closed.
//
// # Bounds
//
// A process waits when line.Window bytes of its output were not acknowledged. Input that a process does not take
// is kept up to line.InputWindow bytes a source; the host must not send more. No process can block the guest.
package guest
