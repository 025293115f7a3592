//go:build !linux

package line

import (
	"errors"
	"os"
)

// A Slate is memory that is shared with a guest. On this system there are no guests.
type Slate struct{}

// OpenSlate maps a slate that the other side has made.
func OpenSlate(*os.File) (*Slate, error) { return nil, errors.ErrUnsupported }
