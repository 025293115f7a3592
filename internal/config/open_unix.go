//go:build unix

package config

import "syscall"

// openNonblock makes opening a FIFO for reading return at once; see open(2).
const openNonblock = syscall.O_NONBLOCK
