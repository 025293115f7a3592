//go:build unix

package term

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// The descriptors of the terminal in the minder.
const (
	minderIn  = 3
	minderOut = 4
)

// startMinder starts the minder when all that brief orders is in its pipe: from then on this process may be killed.
func startMinder(in, out *os.File, program string, args []string, brief func(*minder) error) (*minder, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m := &minder{orders: w}
	cmd := exec.Command(program, args...)
	cmd.Stdin = r
	cmd.Dir = "/" // it must not hold on to the folder
	cmd.ExtraFiles = []*os.File{in, out}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = brief(m); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // ends with the minder, soon after the terminal was given back; how does not matter
	return m, nil
}

// MindMain is the minder's whole life: orders is its standard input. Only a process that [Terminal.StartMinder] has started may
// call it.
func MindMain(orders *os.File) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTTOU, syscall.SIGTTIN, syscall.SIGTSTP)
	return mind(orders, os.NewFile(minderIn, "terminal"), os.NewFile(minderOut, "terminal"))
}
