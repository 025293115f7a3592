package sshagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentTime bounds what a person's agent may take for an answer: it may ask the person, or wait for a finger on a token.
const agentTime = time.Minute

// ErrAgent says that the person's agent does not give a key.
var ErrAgent = errors.New("the ssh agent cannot be used")

// signer is a key that is in memory.
type signer struct{ ssh.Signer }

// NewKey returns a Key that signs by itself.
func NewKey(s ssh.Signer) Key { return signer{s} }

func (s signer) Sign(_ context.Context, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	algorithm := ""
	switch {
	case s.PublicKey().Type() != ssh.KeyAlgoRSA:
	case flags&agent.SignatureFlagRsaSha512 != 0:
		algorithm = ssh.KeyAlgoRSASHA512
	case flags&agent.SignatureFlagRsaSha256 != 0:
		algorithm = ssh.KeyAlgoRSASHA256
	}
	if with, ok := s.Signer.(ssh.AlgorithmSigner); ok && algorithm != "" {
		return with.SignWithAlgorithm(rand.Reader, data, algorithm)
	}
	return s.Signer.Sign(rand.Reader, data)
}

// inAgent is a key that is in the person's own agent.
type inAgent struct {
	socket string
	public ssh.PublicKey
}

// InAgent returns a Key of the agent at a socket. The agent is asked for each signature.
func InAgent(socket string, public ssh.PublicKey) Key { return inAgent{socket, public} }

func (k inAgent) PublicKey() ssh.PublicKey { return k.public }

func (k inAgent) Sign(ctx context.Context, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	var signature *ssh.Signature
	err := askAgent(ctx, k.socket, func(a agent.ExtendedAgent) (err error) {
		signature, err = a.SignWithFlags(k.public, data, flags)
		return err
	})
	return signature, err
}

// AgentKeys lists what the agent at a socket has.
func AgentKeys(ctx context.Context, socket string) ([]*agent.Key, error) {
	var keys []*agent.Key
	err := askAgent(ctx, socket, func(a agent.ExtendedAgent) (err error) {
		keys, err = a.List()
		return err
	})
	return keys, err
}

// Has reports whether one of keys is the public key.
func Has(keys []*agent.Key, public ssh.PublicKey) bool {
	for _, k := range keys {
		if bytes.Equal(k.Blob, public.Marshal()) {
			return true
		}
	}
	return false
}

// Available is an error if a key is in an agent that does not have it, or that is not there.
func Available(ctx context.Context, key Key) error {
	k, ok := key.(inAgent)
	if !ok {
		return nil
	}
	keys, err := AgentKeys(ctx, k.socket)
	if err == nil && !Has(keys, k.public) {
		err = errors.New("it does not have the key")
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrAgent, err)
	}
	return err
}

// askAgent asks the agent at a socket something.
func askAgent(ctx context.Context, socket string, question func(agent.ExtendedAgent) error) error {
	if socket == "" {
		return errors.New("there is none (SSH_AUTH_SOCK is not set)")
	}
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("reach the ssh agent: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := question(agent.NewClient(conn)); err != nil {
		return fmt.Errorf("ask the ssh agent: %w", err)
	}
	return nil
}
