package sock

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestShareKeepsMode hands a listening socket to a child, after which the listener must still be one that can be closed while
// somebody waits for connections.
func TestShareKeepsMode(t *testing.T) {
	l, err := Listen(t.TempDir(), "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shared, err := Share(l)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	cmd := exec.Command("true")
	cmd.ExtraFiles = append(cmd.ExtraFiles, shared)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(shared.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("the listener blocks: flags %#x, %v", flags, err)
	}
}
