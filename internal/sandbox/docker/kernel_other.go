//go:build !linux

package docker

// otherKernel says that no container can have the kernel of this system.
const otherKernel = true

// instead is another runtime that this system may have.
const instead = "apple"
