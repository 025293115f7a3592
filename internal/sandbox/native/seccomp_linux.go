package native

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

//go:generate go run -tags generate gen_seccomp.go

// callTable is the allow-list for one architecture, generated from Docker's default profile.
type callTable struct {
	arch    uint32      // AUDIT_ARCH_*
	allowed [][2]uint32 // first and last number of each run of calls that need no look at arguments, ascending
	highest uint32      // the highest call that was decided upon
}

// Refusals. A call that is newer than the table does not exist: C libraries then use an older one.
const (
	retAllow   = unix.SECCOMP_RET_ALLOW
	retRefuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	retUnknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	retFamily  = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	retKill    = unix.SECCOMP_RET_KILL_PROCESS
)

// Offsets in struct seccomp_data (linux/seccomp.h). Of the arguments only the lower halves are read (both architectures
// are little-endian): all that are looked at are 32 bits wide in the kernel, so what the upper halves say is ignored
// there and must be ignored here.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg1   = 24
)

// argRule decides a call by one argument.
type argRule struct {
	number   uint32
	offset   uint32
	bits     uint32   // if not 0: hit when one of these bits is set
	values   []uint32 // otherwise: hit when it is one of these
	hit      uint32   // what to do then
	miss     uint32
	decision string // for people
}

// argRules are the calls that Docker's profile decides by their arguments, and those that we look at more closely.
func argRules() []argRule {
	const newNamespace = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	families := []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
	return []argRule{
		{number: unix.SYS_CLONE, offset: offsetArg0, bits: newNamespace, hit: retRefuse, miss: retAllow,
			decision: "no new namespaces"},
		{number: unix.SYS_CLONE3, miss: retUnknown,
			decision: "its arguments are behind a pointer; C libraries use clone then"},
		{number: unix.SYS_SOCKET, offset: offsetArg0, values: families, hit: retAllow, miss: retFamily,
			decision: "narrower than Docker's: rare families are where kernel bugs are"},
		{number: unix.SYS_SOCKETPAIR, offset: offsetArg0, values: families, hit: retAllow, miss: retFamily,
			decision: "as socket"},
		{number: unix.SYS_PERSONALITY, offset: offsetArg0, values: []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff},
			hit: retAllow, miss: retRefuse, decision: "Linux, 32-bit and both with UNAME26, as Docker"},
		{number: unix.SYS_IOCTL, offset: offsetArg1, values: []uint32{unix.TIOCSTI, unix.TIOCLINUX}, hit: retRefuse,
			miss: retAllow, decision: "no typing on behalf of the terminal's owner"},
		{number: unix.SYS_PRLIMIT64, offset: offsetArg0, values: []uint32{0}, hit: retAllow, miss: retRefuse,
			decision: "only one's own limits: the guest has the same user, and could be starved of descriptors"},
	}
}

// buildFilter compiles the table and the argument rules to a classic BPF program (seccomp(2)).
func buildFilter(t callTable) ([]unix.SockFilter, error) {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// A call by the convention of another architecture has other numbers; nothing legitimate does that here.
	p := []unix.SockFilter{load(offsetArch), jump(unix.BPF_JEQ, t.arch, 1, 0), ret(retKill), load(offsetNumber)}
	// Newer than the table, or with bit 30: x32, which uses the same architecture code.
	p = append(p, jump(unix.BPF_JGT, t.highest, 0, 1), ret(retUnknown))
	for _, r := range argRules() {
		body := []unix.SockFilter{ret(r.miss)}
		if r.bits != 0 {
			body = []unix.SockFilter{load(r.offset), jump(unix.BPF_JSET, r.bits, 0, 1), ret(r.hit), ret(r.miss)}
		}
		if len(r.values) > 0 {
			body = []unix.SockFilter{load(r.offset)}
			for _, v := range r.values {
				body = append(body, jump(unix.BPF_JEQ, v, 0, 1), ret(r.hit))
			}
			body = append(body, ret(r.miss))
		}
		p = append(p, jump(unix.BPF_JEQ, r.number, 0, uint8(len(body))))
		p = append(p, body...)
	}
	p = append(p, search(t.allowed)...)
	if len(p) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("%d instructions", len(p))
	}
	for _, r := range argRules() {
		if t.allows(r.number) {
			return nil, errors.New("a call is decided twice")
		}
	}
	return p, nil
}

// search is a binary search for the number in the accumulator.
func search(runs [][2]uint32) []unix.SockFilter {
	if len(runs) == 1 {
		r := runs[0]
		return []unix.SockFilter{jump(unix.BPF_JGE, r[0], 0, 1), jump(unix.BPF_JGT, r[1], 0, 1), ret(retRefuse), ret(retAllow)}
	}
	half := len(runs) / 2
	left, right := search(runs[:half]), search(runs[half:])
	// Conditional jumps reach 255 instructions, unconditional ones any distance.
	p := []unix.SockFilter{jump(unix.BPF_JGE, runs[half][0], 0, 1),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(left))}}
	return append(append(p, left...), right...)
}

func jump(test uint16, value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: value, Jt: yes, Jf: no}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// allows reports whether the table allows a call whatever its arguments.
func (t callTable) allows(number uint32) bool {
	for _, r := range t.allowed {
		if r[0] <= number && number <= r[1] {
			return true
		}
	}
	return false
}
