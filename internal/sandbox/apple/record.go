package apple

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"moat/internal/sandbox"
)

// Names in Ref.Dir. What the person may want to see afterwards is in homeDir alone.
const (
	recordName = "guest.json"
	lockName   = "lock"    // held by every process that changes the container, the command's own too
	programDir = "program" // what is insideDir: moat's guest, and nothing else
	homeDir    = "home"    // the home directory inside
)

// record is what Start leaves in Ref.Dir for whoever must find the sandbox again. It is written before the command is asked
// for anything: without one, there is no container.
type record struct {
	Command string         `json:"command"` // the program that was asked, whatever the next moat's PATH says
	Name    string         `json:"name"`    // the container's
	Report  sandbox.Report `json:"report"`
}

// errTorn is returned for a record that is not whole. Only a crash of the machine can tear one.
var errTorn = errors.New("torn record")

func readRecord(ref sandbox.Ref) (record, error) {
	var rec record
	b, err := os.ReadFile(filepath.Join(ref.Dir, recordName))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, fmt.Errorf("%w: %w", errTorn, err)
	}
	return rec, nil
}

// writeRecord replaces the record at once. It need not survive a crash of the machine, after which no container runs.
func writeRecord(ref sandbox.Ref, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	name := filepath.Join(ref.Dir, recordName)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
