package ca

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// maxKept bounds what Resume reads, in bytes.
const maxKept = 16 << 10

// Keep writes the authority, its key included, to w. There is one place for that: the anonymous memory that a run's
// guard holds for the supervisors that it starts, so that programs in the sandbox, which have read the root long ago,
// trust a successor too. It is never to be written to a file that has a name.
func (a *Authority) Keep(w io.Writer) error {
	key, err := x509.MarshalECPrivateKey(a.key.key)
	if err != nil {
		return fmt.Errorf("keep the run's authority: %w", err)
	}
	kept := append(a.RootPEM(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})...)
	if _, err := w.Write(kept); err != nil {
		return fmt.Errorf("keep the run's authority: %w", err)
	}
	return nil
}

// Resume returns the authority that Keep has written.
func Resume(r io.Reader) (*Authority, error) {
	kept, err := io.ReadAll(io.LimitReader(r, maxKept))
	if err != nil {
		return nil, fmt.Errorf("resume the run's authority: %w", err)
	}
	cert, rest := pem.Decode(kept)
	key, _ := pem.Decode(rest)
	if cert == nil || key == nil {
		return nil, errors.New("resume the run's authority: it was not kept whole")
	}
	root, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return nil, fmt.Errorf("resume the run's authority: %w", err)
	}
	rootKey, err := x509.ParseECPrivateKey(key.Bytes)
	if err != nil {
		return nil, errors.New("resume the run's authority: its key is damaged")
	}
	if public, ok := root.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(rootKey.Public()) {
		return nil, errors.New("resume the run's authority: key and root do not belong together")
	}
	leafKey, err := newSigner()
	if err != nil {
		return nil, fmt.Errorf("resume the run's authority: %w", err)
	}
	return &Authority{
		root:    root,
		rootPEM: pem.EncodeToMemory(cert),
		key:     signer{key: rootKey},
		leafKey: leafKey,
		cache:   &cache{entries: make(map[string]*list.Element)},
	}, nil
}
