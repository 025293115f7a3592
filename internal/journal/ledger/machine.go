package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"moat/internal/audit"
)

// Kinds of entries in the machine's record.
const (
	kindKey       = "key"
	kindRun       = "run"
	kindDestroyed = "destroyed"
)

// Machine is what a home keeps about all of its runs: the machine's record, and the keys that are known. Its methods may
// be called by any number of processes.
type Machine struct{ home string }

// OpenMachine returns that of a home. Nothing is read or made.
func OpenMachine(home string) *Machine { return &Machine{home} }

// maxKeys is the most bytes of the file with the keys.
const maxKeys = 1 << 20

const (
	lockFile = Dir + "/lock"
	keysFile = Dir + "/keys"
)

// EnterRun enters the newest checkpoint of a run, which must be on the disk, and returns what the machine's record is then.
// The first one of a key pins it.
func (m *Machine) EnterRun(by *audit.Signer, run string, signed []byte) (audit.Checkpoint, error) {
	return m.enter(by, func(l *Log) {
		l.add(time.Now(), kindRun, []audit.Field{audit.Text("run", run), audit.Text("checkpoint", string(signed))})
	})
}

// EnterDestroyed enters that a person removed a run. Without a key it is entered and not signed.
func (m *Machine) EnterDestroyed(by *audit.Signer, run string, uid int) error {
	_, err := m.enter(by, func(l *Log) {
		l.add(time.Now(), kindDestroyed, []audit.Field{audit.Text("run", run), audit.Number("uid", uid)})
	})
	return err
}

// succeed enters a new key, signed by the one before it, and pins it.
func (m *Machine) succeed(from, to *audit.Signer) error {
	_, err := m.enter(from, func(l *Log) {
		l.add(time.Now(), kindKey, []audit.Field{audit.Text("key", to.String()), audit.Text("by", from.String())})
	})
	if err != nil {
		return err
	}
	return m.exclusive(func(root *os.Root) error { return m.pin(root, ownKey, to.Key) })
}

// enter adds to the machine's record, signs it, and returns when it is on the disk.
func (m *Machine) enter(by *audit.Signer, add func(*Log)) (head audit.Checkpoint, err error) {
	err = m.exclusive(func(root *os.Root) error {
		l, _, err := open(root, nil, true)
		if err != nil {
			return err
		}
		if by != nil {
			if err := m.present(root, l, by); err != nil {
				return errors.Join(err, l.Close())
			}
		}
		add(l)
		if by != nil {
			_, err = l.Sign(audit.OriginOf(by.Key, ""), by)
		} else {
			err = l.Flush()
		}
		if err == nil {
			err = l.Sync()
		}
		if by != nil {
			head = audit.Checkpoint{Origin: audit.OriginOf(by.Key, ""), Size: l.tree.Size(), Root: l.tree.Root()}
		}
		return errors.Join(err, l.Close())
	})
	if err != nil {
		return head, fmt.Errorf("the record of the machine: %w", err)
	}
	return head, nil
}

// present pins a key that signs for the first time, and enters it in a record that is new.
func (m *Machine) present(root *os.Root, l *Log, by *audit.Signer) error {
	keys, err := readKeys(root)
	if err != nil {
		return err
	}
	owned := keys.Owns(by.Key)
	if entries, _ := l.Size(); entries == 0 || !owned {
		l.add(time.Now(), kindKey, []audit.Field{audit.Text("key", by.String())})
	}
	if owned {
		return nil
	}
	return m.pin(root, ownKey, by.Key)
}

// introduce pins a key, and enters it, before it has signed anything.
func (m *Machine) introduce(by *audit.Signer) error {
	_, err := m.enter(by, func(*Log) {})
	return err
}

// exclusive makes the folder, and calls do while nobody else does.
func (m *Machine) exclusive(do func(*os.Root) error) error {
	root, err := os.OpenRoot(m.home)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which lets go of the lock
	if err := lockWhole(lock); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return do(root)
}
