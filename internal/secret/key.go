package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"moat/internal/atomicfile"
)

// keyFile says where the key of the store is: its own lines, or the keyring. It is what makes a keyring that is locked
// for a while an error, and not a reason for a second key.
const keyFile = dirKeys + "/identity"

// Lines of the key file. One that holds the key is an identity file for the program age as well.
const (
	publicLine = "# public key: "
	headFile   = "# The key of moat's credential store. Whoever has it can open the files in credentials/ (age -d -i).\n"
	headRing   = "# The key of moat's credential store is in the system's keyring: service moat, account its public key.\n"
)

const maxKeyFile = 4096

// Kept says where a key was put that was made just now.
type Kept struct {
	// File holds the key; empty when it is in the keyring.
	File string
	// Why says why it is not in the keyring.
	Why error
}

// key returns the key of the store, or an ErrKey.
func (s *Store) key(ctx context.Context, root *os.Root) (*age.X25519Identity, error) {
	data, err := s.readPrivate(root, keyFile, maxKeyFile)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s is missing", ErrKey, s.path(keyFile))
	}
	if err != nil {
		return nil, err
	}
	key, public, err := parseKey(string(data))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, s.path(keyFile), err)
	case key != nil:
		return key, nil
	}
	return s.keyFromRing(ctx, public)
}

// parseKey reads a key file: the key, or only the name by which the keyring has it. It tells nothing of the content.
func parseKey(text string) (key *age.X25519Identity, public string, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch p, isPublic := strings.CutPrefix(line, publicLine); {
		case isPublic && public != "", !isPublic && key != nil && line != "" && line[0] != '#':
			return nil, "", errors.New("it has more than one key")
		case isPublic:
			public = p
		case line == "" || line[0] == '#':
		default:
			if key, err = age.ParseX25519Identity(line); err != nil {
				return nil, "", errors.New("it is damaged")
			}
		}
	}
	if public != "" {
		if _, err := age.ParseX25519Recipient(public); err != nil {
			return nil, "", errors.New("it is damaged")
		}
	}
	switch {
	case key == nil && public == "":
		return nil, "", errors.New("it has no key")
	case key != nil && public != "" && key.Recipient().String() != public:
		return nil, "", errors.New("it is damaged: its key is not the one that it names")
	}
	return key, public, nil
}

func (s *Store) keyFromRing(ctx context.Context, public string) (*age.X25519Identity, error) {
	text, err := askRing(ctx, s.ring, func(r Keyring) (string, error) { return r.Get(public) })
	if err != nil {
		return nil, fmt.Errorf("%w: it is in the system's keyring, which does not give it out: %w", ErrKey, err)
	}
	key, err := age.ParseX25519Identity(text)
	if err != nil || key.Recipient().String() != public {
		return nil, fmt.Errorf("%w: what the system's keyring has for it is something else", ErrKey)
	}
	return key, nil
}

// ensureKey returns the key, and makes it if the store never had one. The lock of the store is held.
func (s *Store) ensureKey(ctx context.Context, root *os.Root) (*age.X25519Identity, *Kept, error) {
	_, err := root.Lstat(keyFile)
	if err == nil {
		key, err := s.key(ctx, root)
		return key, nil, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("look at %s: %w", s.path(keyFile), err)
	}
	made, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	kept := &Kept{}
	text := headRing + publicLine + made.Recipient().String() + "\n"
	if kept.Why = s.toRing(ctx, made); kept.Why != nil {
		kept.File = s.path(keyFile)
		text = headFile + publicLine + made.Recipient().String() + "\n" + made.String() + "\n"
	}
	if err := create(root, keyFile, []byte(text)); err != nil {
		return nil, nil, fmt.Errorf("keep the key: %w", err)
	}
	key, err := s.key(ctx, root) // as everybody will read it
	if err != nil {
		return nil, nil, fmt.Errorf("read the new key back: %w", err)
	}
	if key.String() != made.String() {
		return nil, nil, fmt.Errorf("%w: reading it back gave another one", ErrKey)
	}
	return key, kept, nil
}

// toRing puts a key into the keyring and reads it back. Its account is its own public key, so nothing that is there is
// ever replaced, whichever store it belongs to.
func (s *Store) toRing(ctx context.Context, key *age.X25519Identity) error {
	account := key.Recipient().String()
	_, err := askRing(ctx, s.ring, func(r Keyring) (string, error) { return "", r.Set(account, key.String()) })
	if err != nil {
		return err
	}
	if _, err := s.keyFromRing(ctx, account); err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	return nil
}

// create makes a file that must not be there yet; an existing one is left as it is. It is whole or not there.
func create(root *os.Root, name string, data []byte) error {
	temp := dirKeys + "/" + atomicfile.TempPrefix + "identity" // one at a time: the lock is held
	if err := atomicfile.Write(root, temp, data, 0o600); err != nil {
		return err
	}
	err := root.Link(temp, name) // fails if it is there, where a rename would replace it
	return errors.Join(err, root.Remove(temp), atomicfile.SyncDir(root, dirKeys))
}
