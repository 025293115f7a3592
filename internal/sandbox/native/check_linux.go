package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// checkTime bounds a Check whose context does not.
const checkTime = 10 * time.Second

// Check implements sandbox.Runtime. It makes the namespaces and tries in them what the kernel may forbid.
func (r *Runtime) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := r.tryOut(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return diagnose(observe(), err)
}

// tryOut starts a guest that only probes.
func (r *Runtime) tryOut(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "moat-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	null, err := os.Open(os.DevNull) // in the place of the listener
	if err != nil {
		return err
	}
	defer null.Close()
	c, err := r.clone(sandbox.Spec{Ref: sandbox.Ref{Dir: dir}}, null, nil)
	if err != nil {
		return fmt.Errorf("clone into new namespaces: %w", err)
	}
	r.adopt(dir, c)
	err = c.handOver(ctx, Boot{Probe: true}, func() (late, error) { return late{}, nil })
	if err != nil && err.Error() == errProbed.Error() {
		err = nil
	}
	if errDisown := r.disown(ctx, dir, c); err == nil {
		err = errDisown
	}
	return err
}

// probe tries, in the namespaces that the calling process is the first process of, what the kernel may forbid.
func probe() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := unix.Mkdir("/tmp/proc", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/tmp/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	return errProbed
}

// facts are the settings that decide whether this runtime can work.
type facts struct {
	userNamespaces    bool   // the kernel has them
	unprivilegedClone string // kernel.unprivileged_userns_clone, a Debian addition; "" where it is not there
	maxUserNamespaces string // user.max_user_namespaces
	restrictedBy      string // kernel.apparmor_restrict_unprivileged_userns, Ubuntu 23.10 and later
	filtered          bool   // we run under a seccomp filter: in a container
	root              bool
	exe               string
}

// Likely reports whether nothing is known that would keep this runtime from working here. It only reads settings, which takes
// no time.
func Likely() bool {
	f := observe()
	return f.userNamespaces && f.maxUserNamespaces != "0" && !f.filtered && (f.root || f.unprivilegedClone != "0" && f.restrictedBy != "1")
}

func observe() facts {
	sysctl := func(name string) string {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	status, _ := os.ReadFile("/proc/self/status") // an error is no filter that we know of
	exe, _ := os.Executable()
	_, err := os.Stat("/proc/self/ns/user")
	return facts{
		userNamespaces:    err == nil,
		unprivilegedClone: sysctl("kernel/unprivileged_userns_clone"),
		maxUserNamespaces: sysctl("user/max_user_namespaces"),
		restrictedBy:      sysctl("kernel/apparmor_restrict_unprivileged_userns"),
		filtered:          strings.Contains(string(status), "\nSeccomp:\t2"),
		root:              os.Geteuid() == 0,
		exe:               exe,
	}
}

// diagnose finds the switch that is to blame for cause.
func diagnose(f facts, cause error) *sandbox.Unavailable {
	u := &sandbox.Unavailable{Runtime: "native", Reason: cause.Error(), Instead: "docker"}
	switch {
	case !f.userNamespaces:
		u.Reason = "the kernel has no user namespaces (" + cause.Error() + ")"
		u.Fix = "use a kernel that was built with CONFIG_USER_NS=y"
	case f.maxUserNamespaces == "0":
		u.Reason = "user namespaces are switched off: user.max_user_namespaces is 0"
		u.Fix = "sudo sysctl -w user.max_user_namespaces=15000\n" +
			"echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/60-moat.conf   # for the next start of the machine"
	case !f.root && f.unprivilegedClone == "0":
		u.Reason = "user namespaces are for root only: kernel.unprivileged_userns_clone is 0"
		u.Fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1\n" +
			"echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-moat.conf   # for the next start of the machine"
	case !f.root && f.restrictedBy == "1":
		u.Reason = "AppArmor restricts user namespaces: kernel.apparmor_restrict_unprivileged_userns is 1"
		u.Fix = appArmorFix(f.exe)
	case f.filtered:
		u.Reason = "this is a container, and it does not allow what a sandbox needs (" + cause.Error() + ")"
		u.Fix = "run moat outside of the container, or start the container with\n" +
			"  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
	case errors.Is(cause, unix.ENOSPC), errors.Is(cause, unix.EUSERS):
		u.Reason = "too many user namespaces, or too deep: " + cause.Error()
		u.Fix = "sudo sysctl -w user.max_user_namespaces=15000"
	default:
		u.Fix = "look at the kernel's log (dmesg) for what refused it"
	}
	return u
}

// appArmorFix is the profile that lets this one program make user namespaces, as Ubuntu does for its own.
func appArmorFix(exe string) string {
	return fmt.Sprintf(`sudo tee /etc/apparmor.d/moat <<'END'
abi <abi/4.0>,
include <tunables/global>
profile moat %q flags=(unconfined) {
  userns,
  include if exists <local/moat>
}
END
sudo apparmor_parser -r /etc/apparmor.d/moat
# or, for all programs: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, exe)
}
