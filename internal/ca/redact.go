package ca

import (
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"
	"log/slog"
)

// signer is a private key that can sign and nothing else: whoever gets it from a certificate can neither print nor
// export the key.
type signer struct{ key *ecdsa.PrivateKey }

const redacted = "[REDACTED]"

// Public implements crypto.Signer.
func (s signer) Public() crypto.PublicKey { return s.key.Public() }

// Sign implements crypto.Signer.
func (s signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(random, digest, opts)
}

func (signer) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (signer) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (signer) LogValue() slog.Value         { return slog.StringValue(redacted) }

func (a *Authority) String() string               { return "certificate authority " + redacted }
func (a *Authority) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, a.String()) }
func (a *Authority) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
func (a *Authority) LogValue() slog.Value         { return slog.StringValue(a.String()) }
