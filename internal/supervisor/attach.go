package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/session"
)

// stream is one attach or exec call.
type stream struct {
	client
	line  *line.Conn // on which its input goes to the command; nil if it sends none
	typed *typed     // its input, for the audit record; nil if that is not entered
	shows bool       // the run's terminal, on one of its own

	painted bool // it is shown the output, or about to be; guarded by the terminal's mu
}

// openStream takes the call's connection over and reads its first frame. The caller closes the stream. Without one the
// call was answered.
func openStream(w http.ResponseWriter, r *http.Request, want byte) (*stream, []byte) {
	frames, err := api.AcceptStream(w, r)
	var refused *api.StatusError
	if errors.As(err, &refused) {
		http.Error(w, refused.Text, refused.Status)
	}
	if err != nil {
		return nil, nil
	}
	kind, payload, err := frames.Next()
	if err == nil && kind != want {
		err = frames.Send(api.KindGone, api.Encode(api.Gone{Reason: fmt.Sprintf("the first frame is %q, want %q", kind, want)}))
	}
	if err != nil || kind != want {
		frames.Close()
		return nil, nil
	}
	return &stream{client: client{Stream: frames}}, payload
}

// attach serves one client of the run's command until either ends.
func (srv *server) attach(w http.ResponseWriter, r *http.Request) {
	defer srv.begin()()
	s := srv.s
	st, first := openStream(w, r, api.KindAttach)
	if st == nil {
		return
	}
	defer st.Close()
	defer context.AfterFunc(r.Context(), st.Close)()
	req, err := api.Decode[api.Attach](first)
	if err == nil {
		err = s.waitUp(r.Context())
	}
	if r.Context().Err() != nil {
		return // a successor will serve it
	}
	if err != nil {
		s.endStream(st.Send(api.KindGone, api.Encode(api.Gone{Reason: err.Error()})))
		return
	}
	st.source = sourceOf(req)
	st.terminal = s.terminal != nil && req.Terminal != nil && st.source != 0
	box := s.clients.add(&st.client)
	defer s.clients.remove(&st.client)
	if s.link != nil && !s.audit.inputs() {
		s.clients.keyboard(s.link.keyboard, &st.client)
	}
	var left func(error)
	st.typed, left = s.audit.attached(uidOf(r.Context()), req)
	err = s.serve(r.Context(), st, req, box)
	left(err)
	s.endStream(err)
}

// serve serves a client until it or the run is gone.
func (s *supervisor) serve(ctx context.Context, st *stream, req api.Attach, box *mailbox) error {
	if st.source != 0 && s.link != nil {
		var err error
		if st.line, err = s.link.await(ctx, s.ended); err != nil {
			return err
		}
	}
	st.Put(api.KindStarted, api.Encode(api.Started{InputDone: s.inputTaken(st.source)}))
	send := func(ctx context.Context) error { return s.sendOutput(ctx, st, req.From) }
	if req.Terminal != nil && s.terminal != nil {
		if st.terminal {
			s.arrange(func(z *session.Sizes) { z.Active(st, sizeOf(req.Terminal.Size)) })
			defer s.arrange(func(z *session.Sizes) { z.Left(st) })
		}
		st.shows = true
		st.SetStall(stallTime)
		send = func(ctx context.Context) error { return s.sendScreen(ctx, st, req.Terminal, req.From) }
	}
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, st.Close)() // ends a read that waits
	group.Go(func() error { return s.forwardInput(st) })
	group.Go(func() error { return send(ctx) })
	group.Go(func() error { return s.sendNews(ctx, &st.client, box) })
	return group.Wait()
}

// endStream notes why a client's stream ended.
func (s *supervisor) endStream(err error) {
	if err != nil && !errors.Is(err, errSent) {
		s.Logger.Debug("client left", "error", err)
	}
}

// errSent ends a stream's group when all was sent.
var errSent = errors.New("all was sent")

// sendOutput sends the run's output from offset from on, and in the end its Exit. The record is the client's queue:
// however slow it is, nothing is lost and nobody waits for it.
func (s *supervisor) sendOutput(ctx context.Context, st *stream, from int64) error {
	record := tape{s: s}
	defer record.close()
	news, cancel := s.untilEnded(ctx)
	defer cancel()
	for {
		ended := s.isEnded()
		var err error
		if from, err = record.send(st, from, math.MaxInt64); err != nil {
			return err
		}
		if ended {
			return s.sendEnd(st)
		}
		if from, err = s.watch(news, st, from); err != nil {
			return err
		}
	}
}

// watch waits until there is something to do for a client that was sent all output before from: it could not be sent
// all that came, or the run has ended. It returns where the output goes on then. ctx is one of untilEnded.
func (s *supervisor) watch(ctx context.Context, st *stream, from int64) (int64, error) {
	if err := st.Flush(); err != nil {
		return from, err
	}
	v := &viewer{client: &st.client, watches: st.shows, next: from, left: make(chan struct{})}
	if !s.audience.join(v) {
		return from, s.waitNews(ctx, from)
	}
	select {
	case <-v.left:
	case <-ctx.Done():
	}
	s.audience.leave(v)
	if ctx.Err() != nil && !s.isEnded() {
		return v.next, ctx.Err()
	}
	return v.next, st.Flush()
}

// sendEnd sends how the run ended.
func (s *supervisor) sendEnd(st *stream) error {
	if s.failed != nil {
		return errors.Join(st.Send(api.KindFailed, api.Encode(s.failed)), errSent)
	}
	return errors.Join(st.Send(api.KindExit, api.Encode(s.final)), errSent)
}

// untilEnded is ctx, but ends with the run as well.
func (s *supervisor) untilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// waitNews waits until more output than that before from is recorded, or the run has ended. ctx is one of untilEnded.
func (s *supervisor) waitNews(ctx context.Context, from int64) error {
	if _, err := s.output.Wait(ctx, from); err != nil && !s.isEnded() {
		return err
	}
	return nil
}

// tape is the output record for one client, which is opened when there is something in it to be sent.
type tape struct {
	s      *supervisor
	reader *journal.Reader
}

func (t *tape) close() {
	if t.reader != nil {
		_ = t.reader.Close() // it was only read
	}
}

// send sends what is recorded from offset from on, whole pieces of at least limit bytes in all if there is that
// much, and returns where it ended.
func (t *tape) send(st *stream, from, limit int64) (int64, error) {
	if from >= t.s.output.Offset() {
		return from, nil
	}
	var err error
	if t.reader == nil {
		t.reader, err = journal.OpenReader(t.s.dir)
	}
	var end int64
	if err == nil {
		end, err = t.reader.Refresh()
	}
	if err != nil {
		return from, fmt.Errorf("read the output record: %w", err)
	}
	begin := from
	for chunk, err := range t.reader.Chunks(from, end) {
		if err != nil {
			return from, fmt.Errorf("read the output record: %w", err)
		}
		var head [32]byte
		if err := st.Send(api.KindOutput, outputHeader(head[:0], chunk), chunk.Data); err != nil {
			return from, err
		}
		if from = chunk.End(); from-begin >= limit {
			break
		}
	}
	return from, nil
}

func outputHeader(dst []byte, c journal.Chunk) []byte {
	return api.AppendOutputHeader(dst, line.Stream(c.Stream), c.Offset, c.Time)
}

// sendNews sends what is not output.
func (s *supervisor) sendNews(ctx context.Context, c *client, box *mailbox) error {
	for {
		select {
		case <-box.news:
			if err := s.clients.deliver(c, box); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forwardInput passes on what the client types, until it goes away.
func (s *supervisor) forwardInput(st *stream) error {
	for {
		kind, payload, err := st.Next()
		if err != nil {
			return err
		}
		switch kind {
		case api.KindInput:
			if err := s.passInput(st, payload); err != nil {
				return err
			}
		case api.KindResize:
			size, err := api.Decode[api.Size](payload)
			if err != nil {
				return err
			}
			if st.terminal {
				s.arrange(func(z *session.Sizes) { z.Active(st, sizeOf(size)) })
			}
		case api.KindTyped:
			typed, err := api.Decode[api.Typed](payload)
			if err != nil {
				return err
			}
			if st.terminal {
				s.terminal.Typed(typed.At)
			}
		default:
			return fmt.Errorf("unexpected frame %q", kind)
		}
	}
}

func (s *supervisor) passInput(st *stream, payload []byte) error {
	in, err := api.ParseInput(payload)
	if err != nil {
		return err
	}
	if st.source == 0 {
		return errors.New("input from a client that said it sends none")
	}
	if s.terminal != nil {
		s.terminal.Typed(time.Now())
		if st.terminal && s.terminal.leader() != st {
			s.arrange(func(z *session.Sizes) { z.Active(st, journal.Size{}) })
		}
	}
	if s.isEnded() {
		return nil // as the client is about to hear
	}
	if err := s.audit.took(st.typed, in.Offset, in.Data, in.EOF); err != nil {
		return err
	}
	// If the line has broken this ends the stream, even if there is another one by now: what was under way is lost,
	// and the client comes back and sends again what was not taken.
	return s.link.sendOn(st.line, line.Input{Process: line.Main, Source: st.source, Offset: in.Offset, EOF: in.EOF, Data: in.Data})
}

// inputTaken tells how much of a source's input the command had taken when last heard of.
func (s *supervisor) inputTaken(source uint64) uint64 {
	if s.link == nil {
		return 0 // the command never started
	}
	return s.link.inputTaken(source)
}
