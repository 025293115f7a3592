package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"moat/internal/api"
	"moat/internal/audit"
	"moat/internal/run"
)

// allow adds a pattern to what the run may reach, at once and for the rest of its life.
func (srv *server) allow(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req, err := api.Decode[api.Allow](body)
	if err == nil {
		err = srv.s.allow(r.Context(), req.Pattern)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *supervisor) allow(ctx context.Context, pattern string) error {
	if err := s.waitUp(ctx); err != nil {
		return err
	}
	if s.network == nil {
		return errors.New("the run has no network")
	}
	s.network.changing.Lock()
	defer s.network.changing.Unlock()
	wider, err := s.network.policy.Load().WithAllow(pattern)
	if err != nil {
		return fmt.Errorf("%q cannot be allowed: %w", pattern, err)
	}
	// A successor has to know it, so it is recorded before it counts.
	if err := s.note(s.Folder.Update(func(r *run.Record) {
		network := *r.Plan.Network
		network.Allow = append(append([]string(nil), network.Allow...), pattern)
		r.Plan.Network = &network
	})); err != nil {
		return err
	}
	s.audit.event("policy", audit.Text("allow", pattern), audit.Text("plan", planSum(s.Folder.Record().Plan)), audit.Number("uid", uidOf(ctx)))
	s.network.policy.Store(wider)
	s.told.Clear()
	s.Logger.Info("the network policy was widened", "allow", pattern)
	return nil
}
