package native

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

func TestDiagnose(t *testing.T) {
	good := facts{userNamespaces: true, maxUserNamespaces: "15000", exe: "/opt/my moat/moat"}
	refused := fmt.Errorf("clone: %w", unix.EPERM)
	for name, c := range map[string]struct {
		change func(*facts)
		cause  error
		reason string
		fix    string
	}{
		"no kernel support":   {func(f *facts) { f.userNamespaces = false }, refused, "no user namespaces", "CONFIG_USER_NS"},
		"switched off":        {func(f *facts) { f.maxUserNamespaces = "0" }, refused, "max_user_namespaces is 0", "sysctl -w user.max_user_namespaces="},
		"for root only":       {func(f *facts) { f.unprivilegedClone = "0" }, refused, "unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		"AppArmor":            {func(f *facts) { f.restrictedBy = "1" }, refused, "apparmor_restrict_unprivileged_userns is 1", `profile moat "/opt/my moat/moat"`},
		"AppArmor, for all":   {func(f *facts) { f.restrictedBy = "1" }, refused, "AppArmor", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		"in a container":      {func(f *facts) { f.filtered = true }, refused, "container", "seccomp=unconfined"},
		"too many":            {func(f *facts) {}, fmt.Errorf("clone: %w", unix.ENOSPC), "too many", "max_user_namespaces"},
		"something else":      {func(f *facts) {}, refused, "clone: operation not permitted", "dmesg"},
		"root is not bound":   {func(f *facts) { f.root, f.restrictedBy, f.unprivilegedClone = true, "1", "0" }, refused, "clone:", "dmesg"},
		"switches and filter": {func(f *facts) { f.filtered, f.maxUserNamespaces = true, "0" }, refused, "max_user_namespaces", "sysctl"},
	} {
		f := good
		c.change(&f)
		u := diagnose(f, c.cause)
		if !strings.Contains(u.Reason, c.reason) || !strings.Contains(u.Fix, c.fix) || u.Instead != "docker" || u.Runtime != "native" {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

// TestCheckSaysWhatIsWrong asks where user namespaces are switched off: in one of ours.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	if !alone(t) {
		return
	}
	must(t, os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
	var u *sandbox.Unavailable
	if err := new(Runtime).Check(t.Context()); !errors.As(err, &u) || !strings.Contains(u.Reason, "user.max_user_namespaces is 0") {
		t.Errorf("Check() = %v", err)
	}
}
