package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"moat/internal/api"
	"moat/internal/atomicfile"
	"moat/internal/frame"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/session"
)

// lagLimit is how far behind the output a terminal may be before it is shown the newest state instead of every byte.
const lagLimit = 1 << 20

// maxKnown is how many terminals a run remembers.
const maxKnown = 64

// terminal is the run's terminal and those of the clients that show it.
type terminal struct {
	*session.Screen
	answered uint64 // bytes that the model has answered; for its one goroutine

	mu    sync.Mutex
	sizes *session.Sizes
	size  journal.Size      // as last asked for
	seen  map[string]uint64 // by a terminal's key: lines that it was shown
}

func (s *supervisor) newTerminal() *terminal {
	policy := session.Latest
	if s.Folder.Record().Plan.Smallest {
		policy = session.Smallest
	}
	t := &terminal{
		Screen: session.NewScreen(s.answer, s.Logger),
		sizes:  session.NewSizes(policy),
		seen:   make(map[string]uint64),
	}
	if data, err := s.dir.ReadFile(seenFile); err == nil {
		if seen, err := api.Decode[map[string]uint64](data); err == nil && seen != nil {
			t.seen = seen
		}
	}
	return t
}

// answer gives the command what the screen model has to say to its questions.
func (s *supervisor) answer(replies []byte) {
	offset := max(s.terminal.answered, s.link.inputTaken(modelSource))
	s.terminal.answered = offset + uint64(len(replies))
	err := s.link.send(line.Input{Process: line.Main, Source: modelSource, Offset: offset, Data: replies})
	if err != nil {
		s.Logger.Info("the command's question was not answered", "error", err)
	}
}

// modelSource names the screen model among the sources of input.
const modelSource = 1

// arrange makes the run's terminal as large as its clients want it, and settles who answers the command's questions.
// Whoever changed the clients calls it.
func (s *supervisor) arrange(change func(*session.Sizes)) {
	t := s.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.sizes.Leader()
	change(t.sizes)
	if now, _ := t.sizes.Leader().(*stream); t.sizes.Leader() != was {
		s.lead(now)
	}
	want, ok := t.sizes.Want()
	if !ok || want == t.size {
		return
	}
	s.record(want) // before any output that is drawn for it
	if err := s.link.send(line.Resize{Process: line.Main, Rows: want.Rows, Cols: want.Cols}); err != nil {
		s.Logger.Info("the terminal was not resized", "error", err)
	}
}

// lead makes a client the one whose terminal answers the command's questions, or the model if there is none. It is the
// model too until the client is shown the output, so that no question falls in between. The terminal's mu is held.
func (s *supervisor) lead(st *stream) {
	t := s.terminal
	at := s.output.Offset()
	switch {
	case st == nil:
		t.Answer(at, nil)
		return
	case st.painted:
		t.Hush(at)
	default:
		t.Answer(at, st)
	}
	s.clients.lead(&st.client)
	s.audience.lead(&st.client)
}

// record puts a size on the tape. The terminal's mu is held.
func (s *supervisor) record(size journal.Size) {
	s.terminal.size = size
	if err := s.output.Resize(time.Now(), size); err != nil {
		s.Logger.Error("a size of the terminal was not recorded", "error", err)
	}
}

// beginTerminal puts the first size on the tape, before the command draws, and returns it: zero if there is no terminal.
func (s *supervisor) beginTerminal() journal.Size {
	t := s.terminal
	if t == nil {
		return journal.Size{}
	}
	size := sizeOf(s.Start.Size)
	if size.Rows == 0 || size.Cols == 0 {
		size = journal.Size{Rows: session.DefaultRows, Cols: session.DefaultCols}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.record(size)
	return size
}

// leader is the client whose terminal answers the command's questions, nil if there is none.
func (t *terminal) leader() *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	st, _ := t.sizes.Leader().(*stream)
	return st
}

// paints notes that a client is about to be shown the output. One that leads must know that before it sees any.
func (t *terminal) paints(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !st.painted && t.sizes.Leader() == any(st) {
		st.Put(api.KindLead, api.Encode(api.Lead{On: true}))
	}
	st.painted = true
}

func sizeOf(s api.Size) journal.Size { return journal.Size{Rows: s.Rows, Cols: s.Cols} }

// sendScreen sends a repaint and then the output as it comes, and in the end the run's Exit. A client that falls
// behind is sent another repaint in place of what it missed. from is where the output ends that it shows already, if it
// lost its connection.
func (s *supervisor) sendScreen(ctx context.Context, st *stream, t *api.Terminal, from int64) error {
	record := tape{s: s}
	defer record.close()
	next, err := s.sendRepaint(ctx, st, s.terminal.shown(t, from), t.Again)
	if err != nil {
		return err
	}
	defer func() { s.remember(ctx, t, next) }()
	news, cancel := s.untilEnded(ctx)
	defer cancel()
	for {
		ended := s.isEnded()
		if s.output.Offset()-next > lagLimit {
			seen := session.Seen{Offset: next}
			if t.NoScrollback {
				seen = session.All()
			}
			if next, err = s.sendRepaint(ctx, st, seen, true); err != nil {
				return err
			}
		}
		if next, err = record.send(st, next, lagLimit); err != nil {
			return err
		}
		if ended && next >= s.output.Offset() {
			return s.sendEnd(st)
		}
		if next, err = s.watch(news, st, next); err != nil {
			return err
		}
	}
}

// sendRepaint sends a repaint and returns the offset of the output that comes after it.
func (s *supervisor) sendRepaint(ctx context.Context, st *stream, seen session.Seen, again bool) (int64, error) {
	s.terminal.paints(st)
	rp, err := s.terminal.Repaint(ctx, st, s.output.Position(), seen)
	if err != nil {
		return 0, fmt.Errorf("repaint: %w", err)
	}
	head := api.Repaint{Bytes: len(rp.Data), Offset: rp.Offset, Again: again}
	st.Put(api.KindRepaint, api.Encode(head))
	for data := rp.Data; len(data) > 0; {
		n := min(len(data), frame.Max)
		if err := st.Send(api.KindPaint, data[:n]); err != nil {
			return 0, err
		}
		data = data[n:]
	}
	return rp.Offset, st.Flush()
}

// shown tells which lines a client's terminal need not be shown.
func (t *terminal) shown(c *api.Terminal, from int64) session.Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.NoScrollback || c.Again && from == 0:
		return session.All()
	case c.Again:
		return session.Seen{Offset: from}
	default:
		return session.Seen{Lines: t.seen[c.Key]}
	}
}

// rememberTime bounds how long it may take to find out what a terminal was shown.
const rememberTime = 5 * time.Second

// remember notes, for successors too, that a client's terminal was shown all lines of the output before offset.
func (s *supervisor) remember(ctx context.Context, c *api.Terminal, offset int64) {
	if c.Key == "" || c.NoScrollback {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberTime)
	defer cancel()
	t := s.terminal
	lines, err := t.LinesAt(ctx, offset)
	if err != nil {
		return // it is shown some twice
	}
	t.mu.Lock()
	if len(t.seen) >= maxKnown {
		clear(t.seen) // terminals that are still there are shown some lines twice
	}
	t.seen[c.Key] = lines
	data := api.Encode(t.seen)
	t.mu.Unlock()
	if err := atomicfile.Write(s.dir, seenFile, data, 0o600); err != nil {
		s.Logger.Warn("what a terminal was shown was not noted", "error", err)
	}
}

// seenFile keeps what each terminal was shown. Without it they are shown some lines twice.
const seenFile = "terminals.json"
