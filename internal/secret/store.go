package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"moat/internal/atomicfile"
)

// Where things are below the folder of the store.
const (
	dirSealed = "credentials"
	dirKeys   = "keys"
	suffix    = ".age"
	lockFile  = dirKeys + "/.lock"
)

const (
	// version of the sealed content.
	version = 1
	// maxSealed bounds what is read as a sealed file.
	maxSealed = 1 << 20
)

// Store is the sealed store in a folder. Its methods may be called concurrently, by any number of processes.
type Store struct {
	home string
	ring Keyring
}

// Open returns the store of a home folder. Nothing is read or made: asking creates nothing. The key is kept in the
// keyring where there is one, otherwise in a file; ring may be nil.
func Open(home string, ring Keyring) *Store { return &Store{home: home, ring: ring} }

// content is what is sealed.
type content struct {
	Version int             `json:"version"`
	Name    string          `json:"name"`
	Data    json.RawMessage `json:"credential"`
}

// Put stores data, which is JSON, under a name, in the place of what was there. The first Put of a store makes its key:
// kept is then where; otherwise it is nil.
func (s *Store) Put(ctx context.Context, name string, data []byte) (kept *Kept, err error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	err = s.exclusive(func(root *os.Root) error {
		var key *age.X25519Identity
		if key, kept, err = s.ensureKey(ctx, root); err != nil {
			return err
		}
		sealed, err := seal(key.Recipient(), content{version, name, data})
		if err != nil {
			return fmt.Errorf("seal %s: %w", name, err)
		}
		return atomicfile.Write(root, sealedPath(name), sealed, 0o600)
	})
	return kept, err
}

// Get returns what was stored under a name. Errors are ErrNotFound, ErrUnreadable, ErrKey, a *[PermissionError], or
// those of the file system.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	sealed, err := s.readPrivate(root, sealedPath(name), maxSealed)
	if err != nil {
		return nil, err
	}
	key, err := s.key(ctx, root)
	if err != nil {
		return nil, err
	}
	c, err := unseal(key, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	switch {
	case c.Version != version:
		return nil, fmt.Errorf("%w: it was written by another version of moat (format %d)", ErrUnreadable, c.Version)
	case c.Name != name:
		return nil, fmt.Errorf("%w: it was stored under another name", ErrUnreadable)
	}
	return c.Data, nil
}

// List returns the names under which something is stored, sorted. What it is worth is not looked at.
func (s *Store) List() ([]string, error) {
	root, err := s.root()
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), dirSealed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove removes what is stored under a name, also where it cannot be opened and where the key is gone.
func (s *Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	switch err := root.Remove(sealedPath(name)); {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if err := root.Remove(usedPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return atomicfile.SyncDir(root, dirSealed)
}

// Lock waits until no other process has the lock of a name, and takes it until unlock is called. It is for who replaces a
// credential by way of somebody else; Put needs no lock.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := s.checkDir(root, dirKeys); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(path.Join(dirKeys, ".lock-"+name), os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	locked := make(chan error, 1)
	go func() { locked <- lockWhole(f) }() // ends when the other one lets go
	select {
	case err = <-locked:
	case <-ctx.Done():
		go func() {
			<-locked //nolint:errcheck // whatever it says
			_ = f.Close()
		}()
		return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func sealedPath(name string) string { return path.Join(dirSealed, name+suffix) }

// usedPath is an empty file whose time is when a name was used. The kernel sets it at once, so writers need no lock.
func usedPath(name string) string { return path.Join(dirSealed, name+".used") }

// Touch notes that what is stored under a name is used at a time.
func (s *Store) Touch(name string, at time.Time) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(sealedPath(name)); err != nil {
		return fmt.Errorf("note the use of %s: %w", name, err)
	}
	f, err := root.OpenFile(usedPath(name), os.O_WRONLY|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return fmt.Errorf("note the use of %s: %w", name, err)
	}
	return errors.Join(f.Close(), root.Chtimes(usedPath(name), at, at))
}

// Touched is when what is stored under a name was used last; zero: nobody has noted that.
func (s *Store) Touched(name string) time.Time {
	if CheckName(name) != nil {
		return time.Time{}
	}
	root, err := s.root()
	if err != nil {
		return time.Time{}
	}
	defer root.Close()
	info, err := root.Lstat(usedPath(name))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// seal makes an age file of a content.
func seal(to age.Recipient, c content) ([]byte, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// unseal opens an age file. Its errors hold nothing of the content.
func unseal(key age.Identity, sealed []byte) (c content, err error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), key)
	if wrong := (*age.NoIdentityMatchError)(nil); errors.As(err, &wrong) {
		return c, errors.New("it was sealed with another key")
	}
	if err != nil {
		return c, errors.New("it is damaged")
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return c, errors.New("it is damaged")
	}
	if json.Unmarshal(plain, &c) != nil {
		return c, errors.New("its content is not what moat writes")
	}
	return c, nil
}

// root opens the home. A home that is not there is an ErrNotFound.
func (s *Store) root() (*os.Root, error) {
	root, err := os.OpenRoot(s.home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open credential store: %w", err)
	}
	return root, nil
}

// exclusive makes the folders of the store, and calls do while no other process makes a key or writes. What writers that
// were killed left behind is swept.
func (s *Store) exclusive(do func(*os.Root) error) error {
	for _, dir := range []string{dirSealed, dirKeys} {
		if err := os.MkdirAll(filepath.Join(s.home, dir), 0o700); err != nil {
			return fmt.Errorf("make credential store: %w", err)
		}
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{dirSealed, dirKeys} {
		if err := s.checkDir(root, dir); err != nil {
			return err
		}
	}
	lock, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return fmt.Errorf("lock credential store: %w", err)
	}
	defer lock.Close() // which lets go of the lock
	if err := lockWhole(lock); err != nil {
		return fmt.Errorf("lock credential store: %w", err)
	}
	for _, dir := range []string{dirSealed, dirKeys} {
		if err := sweep(root, dir); err != nil {
			return fmt.Errorf("sweep credential store: %w", err)
		}
	}
	return do(root)
}

func sweep(root *os.Root, dir string) error {
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
			if err := root.Remove(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPrivate reads a regular file that nobody else may read, in a folder that nobody else may look into.
func (s *Store) readPrivate(root *os.Root, name string, limit int64) ([]byte, error) {
	if err := s.checkDir(root, path.Dir(name)); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path(name), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", s.path(name), err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", s.path(name))
	}
	if err := private(s.path(name), info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(name), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrUnreadable, s.path(name), limit)
	}
	return data, nil
}

func (s *Store) checkDir(root *os.Root, dir string) error {
	info, err := root.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.path(dir), err)
	}
	return private(s.path(dir), info)
}

func (s *Store) path(name string) string { return filepath.Join(s.home, filepath.FromSlash(name)) }
