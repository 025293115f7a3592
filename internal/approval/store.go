package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"moat/internal/atomicfile"
)

// Folder is where approvals are in $MOAT_HOME.
const Folder = "approvals"

// maxFile bounds what is read of a stored approval. The largest file that a workspace can have asks for half of it.
const maxFile = 32 << 20

const version = 1

var (
	// ErrNone says that nothing was ever accepted for a workspace.
	ErrNone = errors.New("nothing was approved yet")
	// ErrDamaged says that a stored approval is not what was stored, or of a version that this program does not know.
	// It counts as none.
	ErrDamaged = errors.New("the stored approval cannot be relied on")
)

// record is a stored approval.
type record struct {
	Version    int       `json:"version"`
	Workspace  string    `json:"workspace"`
	ApprovedAt time.Time `json:"approved_at"` // UTC
	Digest     string    `json:"digest"`      // of workspace and asks
	Asks       []Ask     `json:"asks"`
}

// file is the name of the approval of a workspace.
func file(workspace string) string {
	sum := sha256.Sum256([]byte(workspace))
	return path.Join(Folder, hex.EncodeToString(sum[:16])+".json")
}

// Load returns what was accepted last for a workspace, which is an absolute path without links, and when. home is
// $MOAT_HOME. The error is ErrNone if nothing was, and ErrDamaged if it is not known any more.
func Load(home *os.Root, workspace string) ([]Ask, time.Time, error) {
	f, err := home.Open(file(workspace))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, ErrNone
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read approval: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read approval: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %s: %w", ErrDamaged, file(workspace), err)
	}
	if r.Version != version || r.Workspace != workspace || r.Digest != Digest(workspace, r.Asks) {
		return nil, time.Time{}, fmt.Errorf("%w: %s", ErrDamaged, file(workspace))
	}
	return r.Asks, r.ApprovedAt, nil
}

// Save stores what is accepted for a workspace from now on, in place of what was before.
func Save(home *os.Root, workspace string, asks []Ask, now time.Time) error {
	asks = normal(asks)
	data, err := json.Marshal(record{version, workspace, now.UTC(), Digest(workspace, asks), asks})
	if err != nil {
		return fmt.Errorf("store approval: %w", err)
	}
	if err := home.Mkdir(Folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("store approval: %w", err)
	}
	if err := atomicfile.Write(home, file(workspace), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("store approval: %w", err)
	}
	return nil
}
