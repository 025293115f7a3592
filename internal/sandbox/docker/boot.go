package docker

// A guest connects to the Start that waits for it. Before its box.Boot, one JSON object, comes one byte with two descriptors:
// the guest's listening socket and its log.

// bootReady is the guest's answer when it can be dialled. Any other line says what went wrong.
const bootReady = "ok"

// bootDescriptors are how many come with the first byte.
const bootDescriptors = 2

// ExitUnreached is the exit code of a guest that cannot connect to the Start that waits for it: it has another kernel.
const ExitUnreached = 94
