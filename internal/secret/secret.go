// Package secret keeps what must not be seen: values that do not print, and a store of sealed files on this machine.
//
// It promises that a [Value] shows itself to nobody who does not ask with Expose: not to fmt, log/slog, JSON or an error,
// not even inside another struct. It promises that a [Store] keeps contents sealed with age (X25519), each bound to its
// name, so that a file that was changed, cut, exchanged with another or made for somebody else is refused; that files are
// replaced whole and survive the loss of power; that any number of processes may use one store at the same time; that the
// one key is made once, never replaced, and read back before it is used; and that a store that others can read is refused.
//
// What the contents mean, who may ask for them and what is told to the person are left to others, and so is the memory of
// this process: Go cannot promise to wipe it. An older file put in the place of a newer one of the same name is not noticed.
//
// The files are described in docs/formats.md.
package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

var (
	// ErrNotFound says that nothing is stored under a name.
	ErrNotFound = errors.New("nothing is stored under this name")
	// ErrUnreadable says that something is stored and cannot be opened with the key of this store.
	ErrUnreadable = errors.New("cannot be opened")
	// ErrKey says that the key of the store is missing, damaged, or in a keyring that does not give it out.
	ErrKey = errors.New("the key of the credential store cannot be used")
	// ErrName says that a name cannot be one in a store.
	ErrName = errors.New("not a name for a credential: use 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit; a profile follows an @")
)

// PermissionError says that others may read or change what is in the store.
type PermissionError struct {
	Path string
	Mode fs.FileMode // permission bits; 0 when somebody else owns the file
	Fix  string      // the command to type
}

func (e *PermissionError) Error() string {
	if e.Mode == 0 {
		return fmt.Sprintf("%s belongs to another user; mend it with: %s", e.Path, e.Fix)
	}
	return fmt.Sprintf("others have access to %s (mode %#o); make it private with: %s", e.Path, e.Mode, e.Fix)
}

// maxName bounds a name, which becomes that of a file.
const maxName = 200

// CheckName returns ErrName for what cannot be a name in a store. Names are file names on every system: a word, and up to
// two more behind an @ each, which may have dots.
func CheckName(name string) error {
	form := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}(@[a-z0-9][a-z0-9._-]*){0,2}$`)
	if !form.MatchString(name) || len(name) > maxName || strings.HasSuffix(name, ".") {
		return ErrName
	}
	return nil
}
