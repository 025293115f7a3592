//go:build !linux

package journal

import (
	"io"
	"os"
)

// sendRange copies nothing: the caller's plain way does it.
func sendRange(io.Writer, *os.File, int64, int64) (int64, error) { return 0, nil }
