package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// int80 makes a system call by the convention of 32-bit programs.
func int80(nr, a, b, c, d, e uint32) int32

// foreign lists calls by other conventions than the architecture's own.
func foreign() []call {
	i386 := func(nr, a, b, c, d, e uint32) func() syscall.Errno {
		return func() syscall.Errno {
			if r := int80(nr, a, b, c, d, e); r < 0 {
				return syscall.Errno(-r)
			}
			return 0
		}
	}
	const x32 = 0x40000000
	return []call{
		{"i386 getpid", i386(20, 0, 0, 0, 0, 0)},
		{"i386 unshare", i386(310, unix.CLONE_NEWUSER, 0, 0, 0, 0)},
		{"i386 mount", i386(21, 0, 0, 0, 0, 0)},
		{"i386 ptrace", i386(26, unix.PTRACE_ATTACH, 1, 0, 0, 0)},
		{"i386 keyctl", i386(288, 0, 0xfffffffd, 0, 0, 0)},
		{"i386 bpf", i386(357, 0, 0, 0, 0, 0)},
		{"i386 io_uring_setup", i386(425, 1, 0, 0, 0, 0)},
		{"x32 getpid", raw(x32 | unix.SYS_GETPID)},
		{"x32 unshare", raw(x32|unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
		{"x32 keyctl", raw(x32|unix.SYS_KEYCTL, 0, ^uintptr(2), 0)},
		{"x32 ptrace", raw(x32|521, unix.PTRACE_ATTACH, 1)},
		{"x32 ioctl TIOCSTI", raw(x32|514, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(new(byte))))},
	}
}
