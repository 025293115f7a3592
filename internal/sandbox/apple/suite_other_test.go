//go:build unix && !linux

package apple_test

import "testing"

func runTests(m *testing.M) int { return m.Run() }
