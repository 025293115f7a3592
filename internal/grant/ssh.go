package grant

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"moat/internal/grant/sshagent"
	"moat/internal/secret"
)

// sshName is the provider of keys that log in to a host: ssh:github.com.
const sshName = "ssh"

// sshPort is the only one on which a key is used.
const sshPort = "22"

// sshTo is for one host. The sandbox gets an agent that signs for it, and knows the host's keys.
func sshTo(host string) Provider {
	return Provider{Name: sshName, Title: "SSH key for " + host, Through: []string{host + ":" + sshPort}}
}

// SSH is what a credential of an SSH host has besides.
type SSH struct {
	Host   string
	Public string   // the person's key, as in an authorized_keys file
	Keys   []string // of the host, likewise
	Socket string   // of the agent that has the key; empty: the credential's token is the private key
}

// Errors about keys.
var (
	ErrPassphrase = errors.New("the key has a passphrase")
	ErrKeyFile    = errors.New("this is not an SSH key")
)

// ParseKey reads the file of a key: a private one, or a public one of which the person's agent has the other half. A private key
// is returned without its passphrase, which is asked for by ErrPassphrase.
func ParseKey(data, passphrase []byte) (private secret.Value, public ssh.PublicKey, err error) {
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return secret.Value{}, public, nil
	}
	var raw any
	if len(passphrase) > 0 {
		raw, err = ssh.ParseRawPrivateKeyWithPassphrase(data, passphrase)
	} else {
		raw, err = ssh.ParseRawPrivateKey(data)
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked) || err != nil && len(passphrase) > 0:
		return secret.Value{}, nil, ErrPassphrase
	case err != nil:
		return secret.Value{}, nil, ErrKeyFile
	}
	block, err := ssh.MarshalPrivateKey(raw, "")
	if err != nil {
		return secret.Value{}, nil, ErrKeyFile
	}
	text := string(pem.EncodeToMemory(block))
	signer, err := ssh.ParsePrivateKey([]byte(text))
	if err != nil {
		return secret.Value{}, nil, ErrKeyFile
	}
	return secret.New(text), signer.PublicKey(), nil
}

// Authorized is a public key as a line of text, without its end.
func Authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// KnownHost returns the keys by which the person knows a host, from their own and the system's files.
func KnownHost(home, host string) ([]string, error) {
	var files []string
	for _, file := range []string{filepath.Join(home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"} {
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, fmt.Errorf("read the hosts that ssh knows: %w", err)
	}
	var want *knownhosts.KeyError
	if err := check(host+":"+sshPort, noAddr{}, noKey{}); !errors.As(err, &want) {
		return nil, err
	}
	var keys []string
	for _, k := range want.Want {
		keys = append(keys, Authorized(k.Key))
	}
	return keys, nil
}

// noKey is the key that no host has: with it the files tell which ones the host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("it is none") }

// noAddr is the address of a host that is asked for by name.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "0.0.0.0:0" }

// sshHost is the host that a credential's key is for, as the agent knows it. socket is where the person's agent is now, if it
// is not where it was.
func (c Credential) sshHost(socket string) (*sshagent.Host, error) {
	host := &sshagent.Host{Grant: c.Ref().Name(), Name: c.SSH.Host}
	for _, line := range c.SSH.Keys {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, errors.New("the host's key cannot be read")
		}
		host.Keys = append(host.Keys, key)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.SSH.Public))
	if err != nil {
		return nil, errors.New("the public key cannot be read")
	}
	if c.SSH.Socket != "" {
		if socket == "" {
			socket = c.SSH.Socket
		}
		host.Key = sshagent.InAgent(socket, public)
		return host, nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(c.Token.Expose()))
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	host.Key = sshagent.NewKey(signer)
	return host, nil
}

// checkAgent makes sure that the person's agent has a key that is to be used from there.
func (b *Book) checkAgent(ctx context.Context, g Ready) error {
	if g.SSH == nil {
		return nil
	}
	if err := sshagent.Available(ctx, g.SSH.Key); err != nil {
		return &UnreadyError{g.Name, err}
	}
	return nil
}
