package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moat/internal/journal"
	"moat/internal/line"
)

// roomRetry is how often a full disk is tried again. No kernel interface tells that room was made.
const roomRetry = 500 * time.Millisecond

// offset is the number of the first output byte that is not recorded yet.
func (s *supervisor) offset() uint64 { return uint64(s.output.Offset()) }

// store records a piece of the command's output. While the disk is full it waits, and with it the command, as soon
// as the guest's window is full; clients are told. After a forced stop there is nobody to wait for: what has no room
// is dropped, and the run's record says so.
func (s *supervisor) store(ctx context.Context, out line.Output) error {
	switch next := s.offset(); {
	case out.Offset+uint64(len(out.Data)) <= next:
		return nil // recorded by a predecessor that did not live to acknowledge it
	case out.Offset != next:
		return fmt.Errorf("output begins at %d, want %d", out.Offset, next)
	}
	at := out.Time
	if now := time.Now(); at.After(now) {
		at = now // a guest that lies would make every later time as wrong
	}
	chunk := journal.Chunk{Time: at, Stream: journal.Stream(out.Stream), Offset: int64(out.Offset), Data: out.Data}
	err := s.output.Append(chunk)
	if !errors.Is(err, journal.ErrNoSpace) {
		return err
	}
	s.Logger.Warn("no room for output", "error", err)
	s.clients.notice(fmt.Sprintf("no room left in %s: the run waits until there is", s.Folder.Dir()))
	for errors.Is(err, journal.ErrNoSpace) {
		if err := sleep(ctx, roomRetry); err != nil {
			return err
		}
		err = s.output.Append(chunk)
	}
	s.clients.notice("there is room again: the run goes on")
	return err
}

// inputDone passes on to the client that sent it how much of its input was taken.
func (s *supervisor) inputDone(done line.InputDone) { s.clients.inputDone(done.Source, done.Offset) }
