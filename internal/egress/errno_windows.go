package egress

import (
	"errors"
	"syscall"
)

// temporary reports whether accept may work again a moment later.
func temporary(err error) bool {
	return errors.Is(err, syscall.WSAECONNABORTED) || errors.Is(err, syscall.WSAECONNRESET)
}
