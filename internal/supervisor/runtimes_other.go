//go:build !linux && !darwin

package supervisor

// kinds are the runtimes of this system: none yet.
func kinds() []kind { return nil }
