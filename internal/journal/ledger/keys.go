package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"moat/internal/atomicfile"
	"moat/internal/audit"
)

// What a line of the file with the keys begins with.
const (
	ownKey     = "own"     // signs, or has signed, the records of this machine
	trustedKey = "trusted" // another machine's
)

// Keys are those that are known.
type Keys struct {
	Own     []audit.Key // the newest last
	Trusted []audit.Key
}

// Owns reports whether a key is one of the machine's own.
func (k Keys) Owns(key audit.Key) bool { return slices.ContainsFunc(k.Own, key.Equal) }

// All are all of them.
func (k Keys) All() []audit.Key { return append(slices.Clone(k.Own), k.Trusted...) }

// Keys reads which keys are known: none where there is no file.
func (m *Machine) Keys() (Keys, error) {
	root, err := os.OpenRoot(m.home)
	if errors.Is(err, fs.ErrNotExist) {
		return Keys{}, nil
	}
	if err != nil {
		return Keys{}, fmt.Errorf("read the known keys: %w", err)
	}
	defer root.Close()
	return readKeys(root)
}

func readKeys(root *os.Root) (Keys, error) {
	data, err := readSmall(root, keysFile, maxKeys)
	if errors.Is(err, fs.ErrNotExist) {
		return Keys{}, nil
	}
	if err != nil {
		return Keys{}, fmt.Errorf("read the known keys: %w", err)
	}
	var keys Keys
	for line := range strings.Lines(string(data)) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(words) != 2 || !strings.HasSuffix(line, "\n") {
			return Keys{}, fmt.Errorf("%s is damaged: %q is not a key", keysFile, line)
		}
		key, err := audit.ParseKey(words[1])
		if err != nil || key.String() != words[1] || slices.ContainsFunc(keys.All(), key.Equal) {
			return Keys{}, fmt.Errorf("%s is damaged: %q is not a key", keysFile, line)
		}
		switch words[0] {
		case ownKey:
			keys.Own = append(keys.Own, key)
		case trustedKey:
			keys.Trusted = append(keys.Trusted, key)
		default:
			return Keys{}, fmt.Errorf("%s is damaged: %q is not a key", keysFile, line)
		}
	}
	return keys, nil
}

// Trust makes another machine's key known. One that is known already is no error.
func (m *Machine) Trust(key audit.Key) error {
	return m.exclusive(func(root *os.Root) error {
		keys, err := readKeys(root)
		if err != nil || slices.ContainsFunc(keys.All(), key.Equal) {
			return err
		}
		return m.pin(root, trustedKey, key)
	})
}

// pin adds a line to the file with the keys. The lock is held.
func (m *Machine) pin(root *os.Root, kind string, key audit.Key) error {
	data, err := readSmall(root, keysFile, maxKeys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data = fmt.Appendf(data, "%s %s\n", kind, key)
	return atomicfile.Write(root, keysFile, data, 0o600)
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is not what moat writes", name)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if int64(n) < info.Size() {
		return nil, err
	}
	return data, nil
}
