package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"moat/internal/audit"
)

// cut moves what follows the last whole frame to a file of its own and enters that. Nothing is thrown away: it may be
// evidence.
func (l *Log) cut(dir *os.Root, bytes int64) error {
	name := cutName(l.tree.Size() + 1)
	to, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|openNoFollow, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(to, sum), io.NewSectionReader(l.file, l.end, bytes))
	if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
		return fmt.Errorf("move the torn end aside: %w", err)
	}
	if err := l.file.Truncate(l.end); err != nil {
		return fmt.Errorf("cut the torn end: %w", err)
	}
	if l.end == 0 { // not even its beginning was whole
		if _, err := l.file.WriteAt([]byte(audit.Magic), 0); err != nil {
			return err
		}
		l.end = int64(len(audit.Magic))
	}
	l.add(time.Now(), "cut", []audit.Field{audit.Number("bytes", bytes), audit.Text("sha256", hex.EncodeToString(sum.Sum(nil)))})
	return l.flush()
}
