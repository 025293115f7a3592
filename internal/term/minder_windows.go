package term

import (
	"errors"
	"os"
)

func startMinder(_, _ *os.File, _ string, _ []string, _ func(*minder) error) (*minder, error) {
	return nil, errors.ErrUnsupported
}

// MindMain is the minder's life, where there is one.
func MindMain(*os.File) error { return errors.ErrUnsupported }
