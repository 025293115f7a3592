package ledger

import (
	"context"

	"moat/internal/audit"
	"moat/internal/secret"
)

// signingKey is the name under which package secret keeps the key of a machine.
const signingKey = "audit"

// Signer returns the key that signs the records of the home, which is known and entered. The first time it makes one; kept
// is then where it was put. It may wait for a keyring.
func (m *Machine) Signer(ctx context.Context, ring secret.Keyring) (signer *audit.Signer, kept *secret.Kept, err error) {
	keys, err := m.Keys()
	if err != nil {
		return nil, nil, err
	}
	name := ""
	if len(keys.Own) > 0 {
		name = keys.Own[len(keys.Own)-1].Name // its key was lost: it is the same machine all the same
	}
	text, kept, err := secret.Open(m.home, ring).OwnKey(ctx, signingKey, func() (public, private string) {
		s := audit.NewSigner(name)
		return s.String(), s.Secret()
	})
	if err != nil {
		return nil, nil, err
	}
	if signer, err = audit.ParseSigner(text); err != nil {
		return nil, kept, err
	}
	if !keys.Owns(signer.Key) {
		err = m.introduce(signer) // before it signs anything
	}
	return signer, kept, err
}

// Rotate makes a new key. It is entered, signed by the one before it, and known before it is used.
func (m *Machine) Rotate(ctx context.Context, ring secret.Keyring) (*audit.Signer, error) {
	from, _, err := m.Signer(ctx, ring)
	if err != nil {
		return nil, err
	}
	to := audit.NewSigner(from.Name)
	if err := m.succeed(from, to); err != nil {
		return nil, err
	}
	_, err = secret.Open(m.home, ring).ReplaceOwnKey(ctx, signingKey, to.String(), to.Secret())
	return to, err
}
