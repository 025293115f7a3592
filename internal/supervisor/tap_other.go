//go:build !linux

package supervisor

import (
	"context"
	"errors"
	"os"

	"moat/internal/line"
)

// A tap reads the command's terminal for as long as the guest lends it. Only Linux has guests on the same kernel.
type tap struct{ cancel context.CancelFunc }

func openTap(files line.Files) (*tap, error) {
	err := errors.ErrUnsupported
	for _, f := range files.Files {
		err = errors.Join(err, f.Close())
	}
	return nil, err
}

func (*tap) run(context.Context, func(context.Context, line.Output) error) error { return nil }

func (*tap) open() (*os.File, error) { return nil, errors.ErrUnsupported }

func (*tap) stop() {}
