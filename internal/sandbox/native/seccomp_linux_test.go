package native

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// runFilter interprets a program as the kernel does, for the instructions that buildFilter uses.
func runFilter(t *testing.T, p []unix.SockFilter, data map[uint32]uint32) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(p); pc++ {
		in := p[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = data[in.K]
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == in.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(a > in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(a&in.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program does not end")
	return 0
}

// TestFilterDecidesEveryCall compares the compiled program with the table for every number there is.
func TestFilterDecidesEveryCall(t *testing.T) {
	table := systemCalls()
	p, err := buildFilter(table)
	if err != nil {
		t.Fatal(err)
	}
	byArgument := map[uint32]bool{}
	for _, r := range argRules() {
		byArgument[r.number] = true
	}
	for number := uint32(0); number < table.highest+1000; number++ {
		want := retRefuse
		switch {
		case byArgument[number]:
			continue
		case number > table.highest:
			want = retUnknown
		case table.allows(number):
			want = retAllow
		}
		if got := runFilter(t, p, map[uint32]uint32{offsetArch: table.arch, offsetNumber: number}); got != want {
			t.Errorf("call %d: %#x, want %#x", number, got, want)
		}
	}
}

func TestFilterLooksAtArguments(t *testing.T) {
	table := systemCalls()
	p, err := buildFilter(table)
	if err != nil {
		t.Fatal(err)
	}
	const x32 = 0x40000000
	for name, c := range map[string]struct {
		arch, number, arg0, arg1 uint32
		want                     uint32
	}{
		"other architecture": {unix.AUDIT_ARCH_I386, unix.SYS_GETPID, 0, 0, retKill},
		"x32":                {table.arch, x32 | unix.SYS_GETPID, 0, 0, retUnknown},
		"number -1":          {table.arch, ^uint32(0), 0, 0, retUnknown},
		"fork":               {table.arch, unix.SYS_CLONE, uint32(unix.SIGCHLD), 0, retAllow},
		"thread":             {table.arch, unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND, 0, retAllow},
		"user namespace":     {table.arch, unix.SYS_CLONE, unix.CLONE_NEWUSER, 0, retRefuse},
		"cgroup namespace":   {table.arch, unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_NEWCGROUP, 0, retRefuse},
		"clone3":             {table.arch, unix.SYS_CLONE3, 0, 0, retUnknown},
		"tcp":                {table.arch, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, retAllow},
		"netlink":            {table.arch, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, retAllow},
		"packet":             {table.arch, unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, retFamily},
		"vsock":              {table.arch, unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, retFamily},
		"pair":               {table.arch, unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, retAllow},
		"terminal size":      {table.arch, unix.SYS_IOCTL, 0, unix.TIOCGWINSZ, retAllow},
		"typing":             {table.arch, unix.SYS_IOCTL, 0, unix.TIOCSTI, retRefuse},
		"pasting":            {table.arch, unix.SYS_IOCTL, 0, unix.TIOCLINUX, retRefuse},
		"ask personality":    {table.arch, unix.SYS_PERSONALITY, 0xffffffff, 0, retAllow},
		"no randomisation":   {table.arch, unix.SYS_PERSONALITY, 0x40000, 0, retRefuse},
	} {
		data := map[uint32]uint32{offsetArch: c.arch, offsetNumber: c.number, offsetArg0: c.arg0, offsetArg1: c.arg1}
		if got := runFilter(t, p, data); got != c.want {
			t.Errorf("%s: %#x, want %#x", name, got, c.want)
		}
	}
}

// TestFilterRefuses names calls that no change of the profile may allow unseen.
func TestFilterRefuses(t *testing.T) {
	table := systemCalls()
	for name, number := range map[string]uint32{
		"mount": unix.SYS_MOUNT, "unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "bpf": unix.SYS_BPF,
		"keyctl": unix.SYS_KEYCTL, "io_uring_setup": unix.SYS_IO_URING_SETUP, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
		"userfaultfd": unix.SYS_USERFAULTFD, "open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT, "kexec_load": unix.SYS_KEXEC_LOAD,
		"init_module": unix.SYS_INIT_MODULE, "pidfd_getfd": unix.SYS_PIDFD_GETFD, "fsopen": unix.SYS_FSOPEN,
		"open_tree": unix.SYS_OPEN_TREE, "move_mount": unix.SYS_MOVE_MOUNT, "mount_setattr": unix.SYS_MOUNT_SETATTR,
	} {
		if table.allows(number) {
			t.Errorf("%s is allowed", name)
		}
	}
}

// TestTablesAreGenerated runs the generator and compares.
func TestTablesAreGenerated(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	dir := t.TempDir()
	out, err := exec.Command("go", "run", "-tags", "generate", "gen_seccomp.go", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		name := "seccomp_table_linux_" + arch + ".go"
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate makes (%v)", name, err)
		}
	}
}
