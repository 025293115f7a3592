package egress_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The tests of this package need a world of their own, with addresses of the whole Internet on its loopback. The
// test program runs itself again in new namespaces; where it may not have them, tests that need them say so and skip.
const inLab = "MOAT_TEST_LAB"

func TestMain(m *testing.M) {
	// The workers of a fuzzing run talk to it over descriptors that would be lost.
	fuzzing := slices.ContainsFunc(os.Args, func(arg string) bool {
		return strings.HasPrefix(arg, "-test.fuzz") && !strings.HasPrefix(arg, "-test.fuzzcachedir")
	})
	if os.Getenv(inLab) != "" {
		if err := makeOutside(); err != nil {
			fmt.Fprintln(os.Stderr, "make the laboratory:", err)
			os.Exit(1)
		}
	}
	if os.Getenv(inLab) != "" || fuzzing {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inLab+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread()              // the signal comes when this thread ends (PR_SET_PDEATHSIG(2const))
	if err := cmd.Start(); err != nil { // no namespaces here: the tests that need them skip
		os.Exit(m.Run())
	}
	if err := cmd.Wait(); err != nil {
		os.Exit(1)
	}
}

// needLab skips a test that needs the laboratory where there is none.
func needLab(t testing.TB) {
	t.Helper()
	if os.Getenv(inLab) == "" {
		t.Skip("needs network namespaces: run as root, or allow user namespaces")
	}
}

// makeOutside gives the outer namespace the addresses of the laboratory.
func makeOutside() error {
	for _, args := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "addr", "add", "203.0.113.10/32", "dev", "lo"}, // allowed servers
		{"ip", "addr", "add", "203.0.113.66/32", "dev", "lo"}, // deny.lab.test
		{"ip", "-6", "addr", "add", "2001:db8::10/128", "dev", "lo"},
		{"ip", "-6", "addr", "add", "2001:db8::66/128", "dev", "lo"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}
