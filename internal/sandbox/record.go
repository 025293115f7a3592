package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// RecordName is the file in Ref.Dir in which a runtime writes down what it makes, for whoever must find the sandbox again.
const RecordName = "guest.json"

// ErrTorn says that a record is not whole. Only a crash of the machine can tear one.
var ErrTorn = errors.New("torn record")

// ReadRecord reads what WriteRecord has written. Errors: fs.ErrNotExist, ErrTorn, or one of the file system.
func ReadRecord[Record any](ref Ref) (rec Record, err error) {
	b, err := os.ReadFile(filepath.Join(ref.Dir, RecordName))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return rec, nil
}

// WriteRecord replaces the record at once. It need not survive a crash of the machine: no sandbox does.
func WriteRecord[Record any](ref Ref, rec Record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	name := filepath.Join(ref.Dir, RecordName)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
