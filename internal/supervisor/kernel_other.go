//go:build !linux

package supervisor

// kernel names the kernel that holds sandboxes; "" if nobody knows.
func kernel() string { return "" }

// bootID is another one after each start of the machine; "" if nobody knows.
func bootID() string { return "" }
