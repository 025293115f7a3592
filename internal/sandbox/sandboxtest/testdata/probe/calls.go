package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that a sandbox must refuse. Its arguments would make it succeed, or fail with another error than
// a refusal, for somebody with all rights.
type call struct {
	name string
	do   func() syscall.Errno
}

func raw(nr uintptr, args ...uintptr) func() syscall.Errno {
	var a [6]uintptr
	copy(a[:], args)
	return func() syscall.Errno {
		r, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if isFork(nr) && errno == 0 && r == 0 {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // the child
		}
		return errno
	}
}

func isFork(nr uintptr) bool { return nr == unix.SYS_CLONE || nr == unix.SYS_CLONE3 }

func str(s string) uintptr {
	b := append([]byte(s), 0)
	keep = append(keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

func buf(n int) uintptr {
	b := make([]byte, n)
	keep = append(keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var keep [][]byte // what addresses were taken of

// refused lists the calls in one order, so that a number names one of them.
func refused() []call {
	tty, _ := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	ttyFD := uintptr(0)
	if tty != nil {
		ttyFD = tty.Fd()
	}
	self, _ := unix.PidfdOpen(1, 0)
	netns, _ := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
	null, _ := unix.Open("/dev/null", unix.O_RDWR, 0)
	attr := make([]uint64, 16)
	attr[0] = unix.CLONE_NEWUSER
	attr[4] = uint64(unix.SIGCHLD)
	list := []call{
		{"unshare user", raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
		{"unshare mount", raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS)},
		{"unshare net", raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET)},
		{"clone user", raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
		{"clone user, high bits", raw(unix.SYS_CLONE, 1<<40|unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
		{"clone3 user", raw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&attr[0])), 88)},
		{"setns", raw(unix.SYS_SETNS, uintptr(netns), 0)},
		{"mount tmpfs", raw(unix.SYS_MOUNT, str("tmpfs"), str("/tmp"), str("tmpfs"), 0, 0)},
		{"mount bind", raw(unix.SYS_MOUNT, str("/"), str("/tmp"), 0, unix.MS_BIND, 0)},
		{"remount writable", raw(unix.SYS_MOUNT, 0, str("/"), 0, unix.MS_REMOUNT|unix.MS_BIND, 0)},
		{"umount", raw(unix.SYS_UMOUNT2, str("/proc"), unix.MNT_DETACH)},
		{"pivot_root", raw(unix.SYS_PIVOT_ROOT, str("/tmp"), str("/tmp"))},
		{"chroot", raw(unix.SYS_CHROOT, str("/tmp"))},
		{"fsopen", raw(unix.SYS_FSOPEN, str("tmpfs"), 0)},
		{"open_tree clone", raw(unix.SYS_OPEN_TREE, unixAtFDCWD(), str("/tmp"), unix.OPEN_TREE_CLONE)},
		{"mount_setattr", raw(unix.SYS_MOUNT_SETATTR, unixAtFDCWD(), str("/tmp"), 0, buf(32), 32)},
		{"mknod disk", raw(unix.SYS_MKNODAT, unixAtFDCWD(), str("/tmp/disk"), unix.S_IFBLK|0o666, uintptr(unix.Mkdev(254, 0)))},
		{"mknod memory", raw(unix.SYS_MKNODAT, unixAtFDCWD(), str("/tmp/mem"), unix.S_IFCHR|0o666, uintptr(unix.Mkdev(1, 1)))},
		{"ptrace first process", raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1)},
		{"ptrace seize first process", raw(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1)},
		{"pidfd_getfd", raw(unix.SYS_PIDFD_GETFD, uintptr(self), 3, 0)},
		{"kcmp", raw(unix.SYS_KCMP, 1, 1, 0, 0, 0)},
		{"keyctl", raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0)},
		{"add_key", raw(unix.SYS_ADD_KEY, str("user"), str("x"), str("x"), 1, ^uintptr(2))},
		{"request_key", raw(unix.SYS_REQUEST_KEY, str("user"), str("x"), 0, 0)},
		{"bpf", raw(unix.SYS_BPF, 0, buf(128), 128)},
		{"perf_event_open", raw(unix.SYS_PERF_EVENT_OPEN, buf(128), 0, ^uintptr(0), ^uintptr(0), 0)},
		{"io_uring_setup", raw(unix.SYS_IO_URING_SETUP, 1, buf(128))},
		{"userfaultfd", raw(unix.SYS_USERFAULTFD, 1)},
		{"init_module", raw(unix.SYS_INIT_MODULE, buf(8), 8, str(""))},
		{"finit_module", raw(unix.SYS_FINIT_MODULE, uintptr(null), str(""), 0)},
		{"kexec_load", raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)},
		{"reboot", raw(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_OFF)},
		{"swapoff", raw(unix.SYS_SWAPOFF, str("/none"))},
		{"sethostname", raw(unix.SYS_SETHOSTNAME, str("x"), 1)},
		{"settimeofday", raw(unix.SYS_SETTIMEOFDAY, buf(16), 0)},
		{"acct", raw(unix.SYS_ACCT, 0)},
		{"quotactl", raw(unix.SYS_QUOTACTL, 0x80000100, 0, 0, 0)},
		{"open_by_handle_at", raw(unix.SYS_OPEN_BY_HANDLE_AT, unixAtFDCWD(), buf(64), 0)},
		{"fanotify_init", raw(unix.SYS_FANOTIFY_INIT, 0, 0)},
		{"syslog", raw(unix.SYS_SYSLOG, 3, buf(64), 64)},
		{"personality without randomisation", raw(unix.SYS_PERSONALITY, 0x0040000)},
		{"TIOCSTI", raw(unix.SYS_IOCTL, ttyFD, unix.TIOCSTI, str("x"))},
		{"TIOCSTI, high bits", raw(unix.SYS_IOCTL, ttyFD, 1<<32|unix.TIOCSTI, str("x"))},
		{"TIOCLINUX", raw(unix.SYS_IOCTL, ttyFD, unix.TIOCLINUX, str("\x02"))},
		{"socket packet", raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"socket raw", raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, 1)},
		{"socket alg", raw(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{"socket alg, high bits", raw(unix.SYS_SOCKET, 1<<33|unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{"socket vsock", raw(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{"setgroups", raw(unix.SYS_SETGROUPS, 1, buf(4))},
		{"capset", capset},
		{"setpriority of the machine", raw(unix.SYS_SETPRIORITY, 0, 0, ^uintptr(18))},
	}
	return append(list, foreign()...)
}

func unixAtFDCWD() uintptr { at := unix.AT_FDCWD; return uintptr(at) }

func capset() syscall.Errno {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Permitted: 1 << unix.CAP_SYS_CHROOT, Effective: 1 << unix.CAP_SYS_CHROOT}}
	_, _, errno := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	return errno
}

// calls makes each call in a process of its own, as some are answered with death, and returns what happened.
func calls([]string) any {
	out := map[string]string{}
	for _, c := range refused() {
		cmd := exec.Command("/proc/self/exe", "call", c.name)
		b, err := cmd.Output()
		out[c.name] = strings.Trim(strings.TrimSpace(string(b)), `"`)
		if err != nil {
			out[c.name] = "killed"
		}
	}
	_, _ = os.Remove("/tmp/disk"), os.Remove("/tmp/mem") // where they could be made
	return out
}

func oneCall(args []string) any {
	runtime.LockOSThread()
	for _, c := range refused() {
		if c.name == args[0] {
			if errno := c.do(); errno != 0 {
				return unix.ErrnoName(errno)
			}
			return "ok"
		}
	}
	return "no such call"
}
