package docker

// otherKernel says that no container can have the kernel of this system.
const otherKernel = false

// instead is another runtime that this system has.
const instead = "native"
