package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zalando/go-keyring"
)

// A Keyring is the system's keeper of secrets, of which the person unlocks it: macOS Keychain, Secret Service on Linux
// (GNOME Keyring, KWallet), Windows Credential Manager. It has one key for each store. Calls may block for long.
type Keyring interface {
	// Get returns what Set has put under the account.
	Get(account string) (string, error)
	// Set stores a secret under an account.
	Set(account, secret string) error
}

// SystemKeyring is the keyring of this system. Whether there is one shows when it is used.
func SystemKeyring() Keyring { return systemKeyring{} }

const ringService = "moat"

type systemKeyring struct{}

func (systemKeyring) Get(account string) (string, error) { return keyring.Get(ringService, account) }
func (systemKeyring) Set(account, secret string) error {
	return keyring.Set(ringService, account, secret)
}

// ringTime is how long a keyring may take to answer: a person may have to type a password.
const ringTime = 30 * time.Second

// askRing asks the keyring, and does not wait for ever: a Secret Service that has nobody to ask for the password does not
// answer, and its client cannot be interrupted. The goroutine is left to it then.
func askRing(ctx context.Context, ring Keyring, question func(Keyring) (string, error)) (string, error) {
	if ring == nil {
		return "", errors.New("there is no keyring")
	}
	ctx, cancel := context.WithTimeout(ctx, ringTime)
	defer cancel()
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := question(ring)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("the keyring does not answer: %w", ctx.Err())
	}
}
