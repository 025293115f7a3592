package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"moat/internal/plan"
)

// Version is the schema of run.json. It is raised when an older moat would misread a record; a field that an
// older one may ignore does not raise it. docs/formats.md lists the versions.
const Version = 1

// Record is what is stored about a run: the content of run.json. Times are UTC.
type Record struct {
	Version   int        `json:"version"`
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	State     State      `json:"state"`
	Reason    string     `json:"reason,omitempty"` // why it failed, was lost or was stopped
	Plan      plan.Plan  `json:"plan"`
	CreatedAt time.Time  `json:"created_at"`
	StartedAt *time.Time `json:"started_at"` // the command was started
	EndedAt   *time.Time `json:"ended_at"`   // final; for a lost run the time of its last record
	ExitCode  *int       `json:"exit_code"`  // 128+n when signal n ended it; null: not ended, or nobody saw it
	Signal    int        `json:"signal,omitempty"`
	Attempts  int        `json:"attempts"`       // supervisors that looked after it so far
	Stop      *Stop      `json:"stop,omitempty"` // asked for; a successor of its supervisor carries it out

	// CleanupPending is set together with the end and cleared when what was set up has been taken down.
	CleanupPending bool `json:"cleanup_pending,omitempty"`
}

// Stop is a stop that was asked for.
type Stop struct {
	At    time.Time `json:"at"`
	Grace int64     `json:"grace_ms"` // from SIGTERM to SIGKILL, in milliseconds
}

// copy is a record that shares nothing changeable with r, except for what its plan points to: plans do not change.
func (r Record) copy() Record {
	r.StartedAt = clone(r.StartedAt)
	r.EndedAt = clone(r.EndedAt)
	r.ExitCode = clone(r.ExitCode)
	r.Stop = clone(r.Stop)
	return r
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// check finds what cannot be true. Clocks may be set, so times are not compared with one another.
func (r Record) check() error {
	started := r.State == Running || r.State == Stopping && r.StartedAt != nil || r.State == Exited
	switch {
	case !IsID(r.ID):
		return fmt.Errorf("id %q is not one", r.ID)
	case !r.State.Known():
		return fmt.Errorf("there is no state %q", r.State)
	case CheckName(r.Name) != nil:
		return CheckName(r.Name)
	case r.CreatedAt.IsZero():
		return errors.New("created_at is missing")
	case started && r.StartedAt == nil:
		return fmt.Errorf("it is %s without started_at", r.State)
	case r.State.Final() && r.EndedAt == nil:
		return fmt.Errorf("it is %s without ended_at", r.State)
	case r.State.Live() && (r.EndedAt != nil || r.ExitCode != nil || r.Signal != 0):
		return fmt.Errorf("it is %s and has an end", r.State)
	case r.State == Exited && r.ExitCode == nil:
		return errors.New("it is exited without exit_code")
	}
	return nil
}

// encode is the content of run.json.
func (r Record) encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("refusing to save %s: %w", r.ID, err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.ID, err)
	}
	return append(data, '\n'), nil
}

// decode reads the content of run.json. The error is a tooNew or says what is wrong with it.
func decode(data []byte) (Record, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Record{}, errors.New("it is empty")
	}
	var rec Record
	err := json.Unmarshal(data, &rec)
	if rec.Version != Version {
		return decodeVersion(data, Version, upgrades())
	}
	if err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	if err := rec.check(); err != nil {
		return Record{}, err
	}
	return rec, nil
}

// tooNew is the version of a record that this moat does not know.
type tooNew int

func (v tooNew) Error() string { return fmt.Sprintf("version %d", int(v)) }

// upgrade turns the fields of a record into those of the next version.
type upgrade func(fields map[string]json.RawMessage) error

// upgrades are the steps from each version to the next: the first one reads version 1.
func upgrades() []upgrade { return nil }

// decodeVersion reads a record that does not have the version wanted.
func decodeVersion(data []byte, want int, steps []upgrade) (Record, error) {
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	switch {
	case head.Version == nil:
		return Record{}, errors.New("it has no version")
	case *head.Version > want:
		return Record{}, tooNew(*head.Version)
	case *head.Version < 1:
		return Record{}, fmt.Errorf("there is no version %d", *head.Version)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	for v := *head.Version; v < want; v++ {
		if err := steps[v-1](fields); err != nil {
			return Record{}, fmt.Errorf("read version %d: %w", v, err)
		}
	}
	return decodeFields(fields)
}

func decodeFields(fields map[string]json.RawMessage) (Record, error) {
	data, err := json.Marshal(fields)
	if err != nil {
		return Record{}, fmt.Errorf("encode fields: %w", err)
	}
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	rec.Version = Version
	return rec, rec.check()
}
