package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"moat/internal/atomicfile"
	"moat/internal/audit"
)

// seenDir has the newest cosigned checkpoint of each log: of own ones, so that it is shown who has seen them, and of
// others', so that nothing is cosigned that does not continue what was.
const seenDir = Dir + "/seen"

// seenName is the file for a log.
func seenName(origin string) (string, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(origin, "moat/"), "/", ".")
	if !strings.Contains(name, ".") {
		name += ".machine"
	}
	if strings.ContainsAny(name, `\:`) || len(name) > 200 {
		return "", fmt.Errorf("%w: its origin is %q", audit.ErrCheckpoint, origin)
	}
	return path.Join(seenDir, name), nil
}

// Seen returns the newest cosigned checkpoint of a log that is kept; fs.ErrNotExist if there is none.
func (m *Machine) Seen(origin string, keys []audit.Key) (audit.Signed, error) {
	name, err := seenName(origin)
	if err != nil {
		return audit.Signed{}, err
	}
	root, err := os.OpenRoot(m.home)
	if err != nil {
		return audit.Signed{}, err
	}
	defer root.Close()
	data, err := readSmall(root, name, audit.MaxNote)
	if err != nil {
		return audit.Signed{}, err
	}
	signed, err := audit.Open(data, keys)
	if err == nil && signed.Origin != origin {
		err = audit.ErrCheckpoint
	}
	if err != nil {
		return audit.Signed{}, fmt.Errorf("%s: %w", name, err)
	}
	return signed, nil
}

var errNoWitness = errors.New("no witness that is known has signed it any more")

// Witnessed are the checkpoints of a log that were cosigned, as claims.
func (m *Machine) Witnessed(origin string, keys Keys) ([]Claim, error) {
	signed, err := m.Seen(origin, keys.All())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(signed.Witnesses) == 0 { // nothing else is ever kept
		return nil, fmt.Errorf("%s: %w", origin, errNoWitness)
	}
	w := signed.Witnesses[0]
	source := fmt.Sprintf("%s saw at %s", w.Key.Name, w.Time.Format("2006-01-02 15:04:05 UTC"))
	return []Claim{{Checkpoint: signed.Checkpoint, Source: source, Signed: signed}}, nil
}

// KeepSeen keeps a cosigned checkpoint in the place of the one before.
func (m *Machine) KeepSeen(signed audit.Signed) error {
	name, err := seenName(signed.Origin)
	if err != nil {
		return err
	}
	return m.exclusive(func(root *os.Root) error {
		if err := root.Mkdir(seenDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return atomicfile.Write(root, name, signed.Note, 0o600)
	})
}
