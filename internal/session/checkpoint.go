package session

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

	"moat/internal/atomicfile"
	"moat/internal/vt"
)

// checkpointFile keeps the model as it was at some position of the tape, so that a successor need not read the tape
// from its beginning. It is nothing but a shortcut: without it, or if it is damaged, the tape is read.
const checkpointFile = "screen.snap"

// checkpointEvery is how much output comes between two checkpoints: what a successor reads in about a tenth of a second.
const checkpointEvery = 16 << 20

// checkpoint is the first line of the file, as JSON; the snapshot follows.
type checkpoint struct {
	Step   int64  `json:"step"`
	Offset int64  `json:"offset"`
	Rows   int    `json:"rows"`
	Cols   int    `json:"cols"`
	Lines  uint64 `json:"lines"` // that had scrolled off
	CRC    uint32 `json:"crc"`   // Castagnoli, of the snapshot
}

// save writes a checkpoint if it is time for one and the model is between two sequences.
func (s *Screen) save(dir *os.Root) error {
	s.mu.Lock()
	if s.offset-s.saved < checkpointEvery || !s.vt.Ground() {
		s.mu.Unlock()
		return nil
	}
	cols, rows := s.vt.Size()
	snapshot := s.vt.Snapshot(vt.SnapshotOptions{})
	c := checkpoint{Step: s.step, Offset: s.offset, Rows: rows, Cols: cols, Lines: s.lines(), CRC: checksum(snapshot)}
	s.saved = s.offset
	s.mu.Unlock()
	head, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("save the screen: %w", err)
	}
	var b bytes.Buffer
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head))))
	b.Write(head)
	b.Write(snapshot)
	return atomicfile.Write(dir, checkpointFile, b.Bytes(), 0o600)
}

// load brings the model to the checkpoint, if there is a good one that is not beyond the end of the tape.
func (s *Screen) load(dir *os.Root, end int64) error {
	data, err := dir.ReadFile(checkpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load the screen: %w", err)
	}
	c, snapshot, ok := parseCheckpoint(data)
	if !ok || c.Step > end {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vt.Resize(c.Cols, c.Rows)
	s.vt.SetAnswering(false)
	_, _ = s.vt.Write(snapshot)
	s.vt.TakeEvents()
	s.step, s.offset, s.saved = c.Step, c.Offset, c.Offset
	kept, dropped := s.vt.ScrollbackLen()
	s.before = c.Lines - (dropped + uint64(kept))
	s.marks = marks{list: []mark{{s.offset, c.Lines}}, cut: true}
	return nil
}

func parseCheckpoint(data []byte) (c checkpoint, snapshot []byte, ok bool) {
	if len(data) < 4 {
		return c, nil, false
	}
	n := int64(binary.BigEndian.Uint32(data))
	if n > int64(len(data)-4) || json.Unmarshal(data[4:4+n], &c) != nil {
		return c, nil, false
	}
	snapshot = data[4+n:]
	return c, snapshot, checksum(snapshot) == c.CRC && c.Step >= 0 && c.Offset >= 0
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
