package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"moat/internal/atomicfile"
)

// headOwn begins the file of an own key.
const headOwn = "# A key of moat's own on this machine. Whoever has it can sign in its name.\n"

// OwnKey returns a secret key, a line of text, that this machine has for itself. It is kept as the key of the store is: in
// the keyring under its public half, or in a file of that name. When there is none, made makes it, and kept says where it
// was put; otherwise kept is nil. Errors are ErrKey, a *[PermissionError], or those of the file system.
func (s *Store) OwnKey(ctx context.Context, name string, made func() (public, private string)) (private string, kept *Kept, err error) {
	root, err := s.root()
	if err == nil {
		private, err = s.ownKey(ctx, root, name)
		root.Close()
	}
	if !errors.Is(err, ErrNotFound) {
		return private, nil, err
	}
	err = s.exclusive(func(root *os.Root) error {
		if _, err := root.Lstat(ownPath(name)); !errors.Is(err, fs.ErrNotExist) {
			private, err = s.ownKey(ctx, root, name) // somebody else was faster
			return err
		}
		var public string
		public, private = made()
		kept = s.putOwn(ctx, name, public, private)
		return create(root, ownPath(name), ownText(kept, public, private))
	})
	return private, kept, err
}

// ReplaceOwnKey puts another key in the place of one. The keyring keeps the former one, under its own public half.
func (s *Store) ReplaceOwnKey(ctx context.Context, name, public, private string) (*Kept, error) {
	var kept *Kept
	err := s.exclusive(func(root *os.Root) error {
		kept = s.putOwn(ctx, name, public, private)
		return atomicfile.Write(root, ownPath(name), ownText(kept, public, private), 0o600)
	})
	return kept, err
}

func ownPath(name string) string { return dirKeys + "/" + name }

func ownText(kept *Kept, public, private string) []byte {
	if kept.File == "" {
		return []byte(headOwn + publicLine + public + "\n")
	}
	return []byte(headOwn + publicLine + public + "\n" + private + "\n")
}

// putOwn puts a key into the keyring and reads it back; if that fails it belongs into the file.
func (s *Store) putOwn(ctx context.Context, name, public, private string) *Kept {
	_, err := askRing(ctx, s.ring, func(r Keyring) (string, error) { return "", r.Set(public, private) })
	if err == nil {
		var back string
		back, err = askRing(ctx, s.ring, func(r Keyring) (string, error) { return r.Get(public) })
		if err == nil && back != private {
			err = errors.New("it gives back something else")
		}
	}
	if err == nil {
		return &Kept{}
	}
	return &Kept{File: s.path(ownPath(name)), Why: err}
}

// ownKey reads an own key: ErrNotFound if there never was one.
func (s *Store) ownKey(ctx context.Context, root *os.Root, name string) (string, error) {
	data, err := s.readPrivate(root, ownPath(name), maxKeyFile)
	if err != nil {
		return "", err
	}
	var public, private string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if p, ok := strings.CutPrefix(line, publicLine); ok {
			public = p
		} else if line != "" && line[0] != '#' {
			private = line
		}
	}
	switch {
	case private != "":
		return private, nil
	case public == "":
		return "", fmt.Errorf("%w: %s is damaged", ErrKey, s.path(ownPath(name)))
	}
	private, err = askRing(ctx, s.ring, func(r Keyring) (string, error) { return r.Get(public) })
	if err != nil {
		return "", fmt.Errorf("%w: it is in the system's keyring, which does not give it out: %w", ErrKey, err)
	}
	return private, nil
}
