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

// maxUnseen is how much recorded output the screen model may not know yet, in bytes: what it takes in within a tenth of
// a second or so. A command that prints faster for long waits, so that whoever attaches need not.
const maxUnseen = 4 << 20

// offset is the number of the first output byte that is not recorded yet, as the guest counts: those that could not
// be recorded are in it.
func (s *supervisor) offset() uint64 { return uint64(s.output.Offset()) + s.missing }

// wanted is offset for a guest whose oldest byte has the number first. What is older, a predecessor has let go.
func (s *supervisor) wanted(first uint64) uint64 {
	if next := s.offset(); first > next {
		s.Logger.Error("output is missing", "bytes", first-next)
		s.missing += first - next
	}
	return s.offset()
}

// store records a piece of the command's output. While the disk is full it waits, and with it the command, as soon
// as the guest's window is full; clients are told. When a stop's grace is over there is nobody to wait for: what has
// no room is let go, and the run's record says so.
func (s *supervisor) store(ctx context.Context, out line.Output) error {
	switch next := s.offset(); {
	case out.Offset+uint64(len(out.Data)) <= next:
		return nil // recorded by a predecessor that did not live to acknowledge it
	case out.Offset != next:
		return fmt.Errorf("output begins at %d, want %d", out.Offset, next)
	}
	chunk := journal.Chunk{Time: out.Time, Stream: journal.Stream(out.Stream), Offset: s.output.Offset(), Data: out.Data}
	if s.terminal != nil {
		if err := s.terminal.KeepUp(ctx, chunk.Offset-maxUnseen); err != nil {
			return err
		}
	}
	err := s.append(chunk)
	if !errors.Is(err, journal.ErrNoSpace) {
		return err
	}
	if s.missing == 0 { // otherwise it was said
		s.Logger.Warn("no room for output", "error", err)
		s.warn(fmt.Sprintf("no room left in %s: the run waits until there is", s.Folder.Dir()))
	}
	for errors.Is(err, journal.ErrNoSpace) {
		switch err := s.waitRoom(ctx); {
		case errors.Is(err, errGiveUp):
			if s.missing == 0 {
				s.warn("the run is ended by force: what has no room is let go")
			}
			s.missing += uint64(len(out.Data))
			return nil
		case err != nil:
			return err
		}
		err = s.append(chunk)
	}
	s.warn("there is room again: the run goes on")
	return err
}

// append records a piece, and then sends it to those who wait for it.
func (s *supervisor) append(chunk journal.Chunk) error {
	err := s.output.Append(chunk)
	if err == nil {
		s.audience.show(chunk)
	}
	return err
}

// errGiveUp says that a stop's grace is over.
var errGiveUp = errors.New("the run is ended by force")

// waitRoom waits a while, or less if ctx ends, or with errGiveUp if nobody should wait any more.
func (s *supervisor) waitRoom(ctx context.Context) error {
	timer := time.NewTimer(roomRetry)
	defer timer.Stop()
	select {
	case <-s.stop.forced:
		return errGiveUp
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gap says what is missing from the run's records, if anything is.
func (s *supervisor) gap() string {
	var output, network string
	if s.missing > 0 {
		output = fmt.Sprintf("%d bytes of its output are missing: there was no room for them in %s", s.missing, s.Folder.Dir())
	}
	if s.network != nil {
		network = s.network.gap(s.Folder.Dir())
	}
	return joinReasons(output, network)
}

// inputDone passes on to the client that sent it how much of its input was taken.
func (s *supervisor) inputDone(done line.InputDone) { s.clients.inputDone(done.Source, done.Offset) }

// tapped gives the command's terminal to those who type on theirs, unless what they type is to come through here.
func (s *supervisor) tapped() {
	if !s.audit.inputs() {
		s.clients.keyboard(s.link.keyboard)
	}
}
