package guest

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Protect shields this process from what will run beside it. It is to be called before anything else, and again
// after a change of credentials, which makes a process dumpable again (PR_SET_DUMPABLE(2const)); Serve does that.
//
// No descriptor above 2 reaches another program (Go does not do that for those it inherited), and no process
// of the sandbox can read this one's memory. As PID 1 it also becomes deaf to every signal from inside: the
// kernel does not deliver a signal to the first process of a PID namespace that has no handler for it
// (pid_namespaces(7)), and that includes those which Go's own handlers take for a fault of the program when
// they come from sigqueue(3), and end it.
func Protect() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark inherited descriptors: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid dumps: %w", err)
	}
	if os.Getpid() != 1 {
		return nil
	}
	for sig := unix.Signal(1); sig <= 64; sig++ {
		switch sig {
		case unix.SIGKILL, unix.SIGSTOP: // have no handlers
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE: // Go's are harmless, and needed
		case 32, 33: // Go has none, and glibc reserves them
		default:
			if err := defaultAction(sig); err != nil {
				return fmt.Errorf("reset signal %d: %w", sig, err)
			}
		}
	}
	return nil
}

// defaultAction removes the handler of a signal. os/signal cannot: it knows of no way back for SIGSEGV and the like.
func defaultAction(sig unix.Signal) error {
	var act struct { // struct sigaction of the kernel; all of it zero is SIG_DFL
		handler, flags, restorer, mask uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// peerOfSocket returns who connected, as this PID namespace and this user namespace know it (unix(7)).
func peerOfSocket(nc net.Conn) (*unix.Ucred, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T does not tell who the peer is", nc)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if cerr != nil {
		return nil, fmt.Errorf("ask who the peer is: %w", cerr)
	}
	return cred, nil
}

// reapAll collects ended processes whenever the kernel says that there are some.
func (g *guest) reapAll(ctx context.Context, children <-chan os.Signal) {
	for {
		g.mu.Lock()
		g.reap(unix.WNOHANG)
		g.mu.Unlock()
		select {
		case <-children:
		case <-ctx.Done():
			return
		}
	}
}

// reap collects ended processes (options as for wait4(2)). As PID 1 those are all there are, orphans too; otherwise
// only the guest's own, because others may wait for theirs. The caller holds mu.
func (g *guest) reap(options int) {
	if !g.cfg.Init {
		for _, p := range g.processes {
			if !p.reaped {
				g.reapOne(p.pid, options)
			}
		}
		return
	}
	for g.reapOne(-1, options) {
	}
}

// reapOne collects one process. It reports false if there was none.
func (g *guest) reapOne(pid, options int) bool {
	var status unix.WaitStatus
	got, err := unix.Wait4(pid, &status, options, nil)
	for err == unix.EINTR {
		got, err = unix.Wait4(pid, &status, options, nil)
	}
	if err != nil || got == 0 {
		return false
	}
	for _, p := range g.processes {
		if p.pid == got && !p.reaped {
			p.exited(status)
			break
		}
	}
	return true
}
