package supervisor

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel names the kernel that holds sandboxes.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// bootID is another one after each start of the machine (random(4)); "" if nobody knows.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
