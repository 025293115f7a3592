package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/frame"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/session"
)

// stream is the two bodies of an attach or exec call, as frames.
type stream struct {
	client
	in      *frame.Reader
	body    io.Closer // what in reads from
	control *http.ResponseController

	line *line.Conn // on which its input goes to the command; nil if it sends none
}

// openStream answers the call's header and reads its first frame.
func openStream(w http.ResponseWriter, r *http.Request, want byte) (*stream, []byte, error) {
	control := http.NewResponseController(w)
	st := &stream{in: frame.NewReader(r.Body), body: r.Body, control: control}
	st.frames, st.flush = frame.NewWriter(w), control.Flush
	kind, payload, err := st.in.Next()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read the first frame: %w", err)
	case kind != want:
		return nil, nil, fmt.Errorf("the first frame is %q, want %q", kind, want)
	}
	w.WriteHeader(http.StatusOK)
	return st, payload, control.Flush()
}

// attach serves one client of the run's command until either ends.
func (srv *server) attach(w http.ResponseWriter, r *http.Request) {
	st, first, err := openStream(w, r, api.KindAttach)
	var req api.Attach
	if err == nil {
		req, err = api.Decode[api.Attach](first)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !req.ReadOnly {
		st.source = req.Source
	}
	s := srv.s
	if err := s.waitUp(r.Context()); err != nil {
		s.endStream(st.send(api.KindGone, api.Encode(api.Gone{Reason: err.Error()})))
		return
	}
	st.terminal = s.terminal != nil && req.Terminal != nil && st.source != 0
	box := s.clients.add(&st.client)
	defer s.clients.remove(&st.client)
	s.endStream(s.serve(r.Context(), st, req, box))
}

// serve serves a client until it or the run is gone.
func (s *supervisor) serve(ctx context.Context, st *stream, req api.Attach, box *mailbox) error {
	if st.source != 0 && s.link != nil {
		var err error
		if st.line, err = s.link.await(ctx, s.ended); err != nil {
			return err
		}
	}
	if err := st.send(api.KindStarted, api.Encode(api.Started{InputDone: s.inputTaken(st.source)})); err != nil {
		return err
	}
	send := func(ctx context.Context) error { return s.sendOutput(ctx, st, req.From) }
	if req.Terminal != nil && s.terminal != nil {
		if st.terminal {
			s.arrange(func(z *session.Sizes) { z.Active(st, sizeOf(req.Terminal.Size)) })
			defer s.arrange(func(z *session.Sizes) { z.Left(st) })
		}
		st.cut = func() { _ = st.control.SetWriteDeadline(time.Now()) } // HTTP/2 always can
		send = func(ctx context.Context) error { return s.sendScreen(ctx, st, req.Terminal, req.From) }
	}
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { st.body.Close() })() // ends a read that waits
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
	reader, err := journal.OpenReader(s.dir)
	if err != nil {
		return fmt.Errorf("read the output record: %w", err)
	}
	defer reader.Close()
	news, cancel := s.untilEnded(ctx)
	defer cancel()
	for {
		ended := s.isEnded()
		if from, err = sendRecorded(st, reader, from, math.MaxInt64); err != nil {
			return err
		}
		if ended {
			return s.sendEnd(st)
		}
		if err := s.waitNews(news, from); err != nil {
			return err
		}
	}
}

// sendEnd sends how the run ended.
func (s *supervisor) sendEnd(st *stream) error {
	if s.failed != nil {
		return errors.Join(st.send(api.KindFailed, api.Encode(s.failed)), errSent)
	}
	return errors.Join(st.send(api.KindExit, api.Encode(s.final)), errSent)
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

// sendRecorded sends what is recorded from offset from on, whole pieces of at least limit bytes in all if there is that
// much, and returns where it ended.
func sendRecorded(st *stream, reader *journal.Reader, from, limit int64) (int64, error) {
	end, err := reader.Refresh()
	if err != nil {
		return from, fmt.Errorf("read the output record: %w", err)
	}
	begin := from
	for chunk, err := range reader.Chunks(from, end) {
		if err != nil {
			return from, fmt.Errorf("read the output record: %w", err)
		}
		var head [32]byte
		header := api.AppendOutputHeader(head[:0], line.Stream(chunk.Stream), chunk.Offset, chunk.Time)
		if err := st.send(api.KindOutput, header, chunk.Data); err != nil {
			return from, err
		}
		if from = chunk.End(); from-begin >= limit {
			break
		}
	}
	return from, nil
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

// forwardInput passes on what the client types. A client that closes its side just listens from then on.
func (s *supervisor) forwardInput(st *stream) error {
	for {
		kind, payload, err := st.in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
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
		s.terminal.Typed()
		if st.terminal && s.terminal.leader() != st {
			s.arrange(func(z *session.Sizes) { z.Active(st, journal.Size{}) })
		}
	}
	if s.isEnded() {
		return nil // as the client is about to hear
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
