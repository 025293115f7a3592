package soak

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"testing"
)

// ordinary are names of users without rights whose lot is tried when root runs the tests; the last is everywhere.
func ordinary() []string { return []string{"t-soak", "nobody"} }

// asUser are the tests that are done again.
const asUser = "^Test(Kills|FastCommands|ClientLeaves|StopSurvives|LongHome|StartedOnce|TwoDestroys|ExecIsHungUp)$"

// TestAsUser does some of it again as an ordinary user.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it becomes an ordinary user")
	}
	t.Parallel()
	var who *user.User
	for _, name := range ordinary() {
		if u, err := user.Lookup(name); err == nil {
			who = u
			break
		}
	}
	if who == nil {
		t.Skipf("needs one of the users %q", ordinary())
	}
	uid, err := strconv.Atoi(who.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(who.Gid)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "soak-user-") //nolint:usetesting // t.TempDir is in a folder that nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	self := programs.path("soak.test")
	if err := copyProgram(programs.path(talkerName), self); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.timeout=60m", "-test.parallel="+strconv.Itoa(worlds), "-test.run="+asUser)
	cmd.Dir = dir // it can be read by that user, which the present one need not be
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "USER="+who.Username, envMoat+"="+programs.path(moatName), "MOAT_SOAK=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as %s: %v\n%s", who.Username, err, text)
	}
	t.Logf("as %s:\n%s", who.Username, text)
}
