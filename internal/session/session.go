// Package session is a run's terminal as its supervisor keeps it: what is on the screen, how large it is, and whether
// somebody is waited for.
//
// It promises that the screen is that of all recorded output, also with nobody attached; that a Repaint and the
// output from its offset on leave no gap and no overlap; and that exactly one answers the command's questions: the
// model while no terminal is attached. It is fed from the recorded tape and never sits between the command and those
// who watch it. The emulation is in package vt, the record in package journal, who is attached in package supervisor.
package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"moat/internal/journal"
	"moat/internal/vt"
)

// The size of a terminal until somebody says another one.
const (
	DefaultRows = 24
	DefaultCols = 80
)

// Screen is the model of a run's terminal. Its methods may be called concurrently.
type Screen struct {
	mu      sync.Mutex
	vt      *vt.Terminal
	step    int64 // position on the tape up to which the model was fed
	offset  int64 // output bytes up to which the model was fed
	fed     chan struct{}
	over    bool         // nothing more will be fed
	from    int64        // the model answers the questions in the output from this offset on
	until   int64        // and before this one
	heir    any          // whose terminal answers from its repaint on; nil: nobody waits for that
	replies func([]byte) // receives what the model answers; called without mu
	logger  *slog.Logger

	before uint64 // lines that scrolled off before the model began
	saved  int64  // offset of the last checkpoint
	marks  marks

	attention   Attention
	last, typed time.Time // when the command printed, and somebody typed, for the last time
}

// NewScreen returns the model of a terminal on which nothing has happened. Replies hears what the model has to answer
// to the command's questions; it must not block for long. The model answers until somebody else does.
func NewScreen(replies func([]byte), logger *slog.Logger) *Screen {
	s := &Screen{
		vt:      vt.New(DefaultCols, DefaultRows, vt.Options{}),
		fed:     make(chan struct{}),
		until:   math.MaxInt64,
		replies: replies,
		logger:  logger,
	}
	s.vt.SetAnswering(false) // until Follow has caught up: old questions were answered
	return s
}

// Follow feeds the model with the tape until output is closed or ctx ends. Questions on the tape before position live
// were asked before this supervisor's time and are not answered again.
func (s *Screen) Follow(ctx context.Context, dir *os.Root, output *journal.Output, live int64) error {
	defer s.stop()
	r, err := journal.OpenReader(dir)
	if err != nil {
		return fmt.Errorf("read the tape: %w", err)
	}
	defer r.Close()
	if err := s.load(dir, live); err != nil {
		return err
	}
	for {
		if _, err := r.Refresh(); err != nil {
			return fmt.Errorf("read the tape: %w", err)
		}
		for step, err := range r.Tape(s.position()) {
			if err != nil {
				return fmt.Errorf("read the tape: %w", err)
			}
			s.feed(step, step.Next > live)
			if err := s.save(dir); err != nil {
				s.logger.Warn("the screen was not saved; a successor will have more to read", "error", err)
			}
		}
		err := output.WaitTape(ctx, s.position())
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stop lets those go who wait for the model.
func (s *Screen) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	close(s.fed)
	s.fed = make(chan struct{})
}

func (s *Screen) position() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.step
}

// feed applies one step of the tape.
func (s *Screen) feed(step journal.Step, live bool) {
	s.mu.Lock()
	if step.Size != nil {
		s.vt.Resize(int(step.Size.Cols), int(step.Size.Rows))
	} else {
		s.vt.SetAnswering(live && step.Offset >= s.from && step.Offset < s.until)
		_, _ = s.vt.Write(step.Data)
		s.offset, s.last = step.End(), step.Time
	}
	s.step = step.Next
	s.marks.add(s.offset, s.lines())
	replies := s.vt.TakeReplies()
	if events := s.vt.TakeEvents(); live {
		s.attention.note(step.Time, events)
	}
	close(s.fed)
	s.fed = make(chan struct{})
	s.mu.Unlock()
	if len(replies) > 0 {
		s.replies(replies)
	}
}

// Repaint is what brings a fresh terminal of the right size to where the run's terminal is.
type Repaint struct {
	Data   []byte
	Offset int64  // of the output that comes next
	Lines  uint64 // that have scrolled off the screen so far
}

// Seen says which of the lines that have scrolled off a terminal has already: the first so many, or those of the output
// up to an offset at which a piece of it ended. Where it is no longer known which those are, it is taken to have all.
type Seen struct {
	Lines  uint64
	Offset int64 // 0: Lines says it
}

// All is for terminals that want no lines which have scrolled off.
func All() Seen { return Seen{Lines: math.MaxUint64} }

// Repaint waits until the model knows the tape up to position and returns a repaint, for a client, of what it knows then.
// Of the lines that have scrolled off it holds those that were not seen, as many as are kept.
func (s *Screen) Repaint(ctx context.Context, client any, position int64, seen Seen) (Repaint, error) {
	if err := s.await(ctx, func() bool { return s.step >= position }); err != nil {
		return Repaint{}, err
	}
	defer s.mu.Unlock()
	if s.heir != nil && s.heir == client {
		s.heir, s.until = nil, s.offset
	}
	if seen.Offset > 0 {
		seen.Lines = s.marks.lines(seen.Offset)
	}
	return s.repaint(seen.Lines), nil
}

// KeepUp waits until the model knows the output up to offset, or will never know it.
func (s *Screen) KeepUp(ctx context.Context, offset int64) error {
	err := s.await(ctx, func() bool { return s.offset >= offset || s.over })
	if err == nil {
		s.mu.Unlock()
	}
	return err
}

// LinesAt waits until the model knows the output up to offset, at which a piece of it ended, and returns how many lines
// had scrolled off then, or until now if that is not known any more.
func (s *Screen) LinesAt(ctx context.Context, offset int64) (uint64, error) {
	if err := s.await(ctx, func() bool { return s.offset >= offset }); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return min(s.marks.lines(offset), s.lines()), nil
}

// await waits until ok, which is called with mu held, is true, and returns with mu held. It does not hold it if it fails.
func (s *Screen) await(ctx context.Context, ok func() bool) error {
	s.mu.Lock()
	for !ok() {
		fed := s.fed
		s.mu.Unlock()
		select {
		case <-fed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	return nil
}

// repaint is Repaint of what the model knows now. mu is held.
func (s *Screen) repaint(seen uint64) Repaint {
	kept, _ := s.vt.ScrollbackLen()
	lines := s.lines()
	opts := vt.SnapshotOptions{NoScrollback: seen >= lines}
	if !opts.NoScrollback {
		opts.MaxScrollback = int(min(uint64(kept), lines-seen))
	}
	return Repaint{Data: append(s.vt.Snapshot(opts), s.vt.Pending()...), Offset: s.offset, Lines: lines}
}

// Last is a repaint of how a whole tape left the terminal.
func Last(tape iter.Seq2[journal.Step, error]) (Repaint, error) {
	s := NewScreen(func([]byte) {}, slog.New(slog.DiscardHandler))
	for step, err := range tape {
		if err != nil {
			return Repaint{}, fmt.Errorf("read the tape: %w", err)
		}
		s.feed(step, false)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repaint(0), nil
}

// lines is how many have scrolled off the screen so far. mu is held.
func (s *Screen) lines() uint64 {
	kept, dropped := s.vt.ScrollbackLen()
	return s.before + dropped + uint64(kept)
}

// Answer lets the model answer the command's questions, in the output from offset at on, because nobody's terminal does; or, if
// there is an heir, until that one does: it is sent what comes after its next Repaint.
func (s *Screen) Answer(at int64, heir any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until != math.MaxInt64 { // otherwise the model answers already
		s.from, s.until = at, math.MaxInt64
	}
	s.heir = heir
}

// Hush says that a terminal answers the questions in the output from offset at on.
func (s *Screen) Hush(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.heir = min(s.until, at), nil
}

// Size is the terminal's size as the tape has it.
func (s *Screen) Size() journal.Size {
	s.mu.Lock()
	defer s.mu.Unlock()
	cols, rows := s.vt.Size()
	return journal.Size{Rows: uint16(rows), Cols: uint16(cols)}
}

// quiet is how long a command that shows a cursor behind some text is silent before it seems to wait for somebody.
const quiet = 30 * time.Second

// Attention tells whether, at the time now, somebody is waited for.
func (s *Screen) Attention(now time.Time) Attention {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.attention.Since.IsZero() || s.last.IsZero() || now.Sub(s.last) < quiet {
		return s.attention
	}
	x, y, visible := s.vt.Cursor()
	text, _ := s.vt.AppendLine(nil, y)
	if !visible || x == 0 || len(text) == 0 || !s.typed.Before(s.last) {
		return Attention{}
	}
	return Attention{Since: s.last, Why: "silent"}
}

// Typed says that somebody answered at the time at: nobody is waited for any more that was waited for then.
func (s *Screen) Typed(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.attention.Since.After(at) {
		s.attention = Attention{}
	}
	s.typed = at
}

// Attention is what a person who is not looking may want to know: the command rang the bell, sent a notification, or
// has been silent at a prompt for a while, and nobody has typed anything since.
type Attention struct {
	Since time.Time // zero: nobody is waited for
	Why   string    // "bell", "silent", or the notification's text
}

func (a *Attention) note(at time.Time, events []vt.Event) {
	for _, e := range events {
		switch {
		case e.Kind == vt.Bell:
			*a = Attention{Since: at, Why: "bell"}
		case e.Kind == vt.Notification && e.Title != "":
			*a = Attention{Since: at, Why: e.Title + ": " + e.Body}
		case e.Kind == vt.Notification:
			*a = Attention{Since: at, Why: e.Body}
		}
	}
}
