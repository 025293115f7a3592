package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"

	"moat/internal/policy"
)

// maxMetered bounds the hosts that are counted: who asks for more of them under limits is refused.
const maxMetered = 1 << 16

// Meter counts what a run exchanges with each host and compares it with the limits of the policy as it is now. While
// there are no limits it counts nothing. It may be used by any number of goroutines.
type Meter struct {
	limits func() policy.Limits

	mu   sync.Mutex
	used map[policy.Host]*use
	kept Store // nil: nothing is
}

// use is what a run has exchanged with a host so far.
type use struct {
	policy.Limits
	place int64 // of its counts in the store
}

// Store is memory that outlives this process. What nobody has written reads as zeros, or as io.EOF.
type Store interface {
	io.ReaderAt
	io.WriterAt
}

// A place in a Store: both counts, then the length of the host's name and the name.
const (
	countsSize = 16
	placeSize  = 512 // names have at most 253 bytes (package policy)
)

// NewMeter counts for one run.
func NewMeter(current func() *policy.Policy) *Meter {
	return &Meter{limits: limitsOf(current), used: make(map[policy.Host]*use)}
}

// Keep goes on with the counts that are in a store, and keeps them there. It is called before anything is counted.
func (m *Meter) Keep(s Store) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = s
	var place [placeSize]byte
	for n := range int64(maxMetered) {
		if got, err := s.ReadAt(place[:], n*placeSize); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read what was counted: %w", err)
		} else if got < placeSize {
			return nil
		}
		length := int(binary.LittleEndian.Uint16(place[countsSize:]))
		if length == 0 || length > placeSize-countsSize-2 {
			return nil
		}
		host, err := policy.Name(string(place[countsSize+2:][:length]))
		if err != nil {
			return fmt.Errorf("read what was counted: %w", err)
		}
		u := &use{place: n * placeSize}
		u.Bytes, u.Requests = int64(binary.LittleEndian.Uint64(place[:])), int64(binary.LittleEndian.Uint64(place[8:]))
		m.used[host] = u
	}
	return nil
}

// store writes the counts of a host down; first it makes a place for them. What cannot be written is counted all the same. mu is
// held.
func (m *Meter) store(host policy.Host, u *use, first bool) {
	if m.kept == nil {
		return
	}
	var place [placeSize]byte
	binary.LittleEndian.PutUint64(place[:], uint64(u.Bytes))
	binary.LittleEndian.PutUint64(place[8:], uint64(u.Requests))
	used := place[:countsSize]
	if first {
		name := host.String()
		binary.LittleEndian.PutUint16(place[countsSize:], uint16(len(name)))
		copy(place[countsSize+2:], name)
		used = place[:]
	}
	_, _ = m.kept.WriteAt(used, u.place)
}

// limitsOf reads the limits of each new policy once: Policy.Config copies all of its lists.
func limitsOf(current func() *policy.Policy) func() policy.Limits {
	var (
		mu     sync.Mutex
		seen   *policy.Policy
		limits policy.Limits
	)
	return func() policy.Limits {
		p := current()
		mu.Lock()
		defer mu.Unlock()
		if p != seen {
			seen, limits = p, p.Config().Limits
		}
		return limits
	}
}

// Request counts one HTTP request, or one connection that carries something else. The answer refuses it if the limit is
// reached; nothing is counted then.
func (m *Meter) Request(host policy.Host) policy.Decision { return m.add(host, 0, 1) }

// Bytes counts bytes in either direction. They were exchanged already; the answer says whether there may be more.
func (m *Meter) Bytes(host policy.Host, n int64) policy.Decision { return m.add(host, n, 0) }

// left is how many bytes may be exchanged yet, at least 1.
func (m *Meter) left(host policy.Host) int64 {
	limit := m.limits().Bytes
	if limit == 0 {
		return math.MaxInt64
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if used := m.used[host]; used != nil {
		limit -= used.Bytes
	}
	return max(limit, 1)
}

func (m *Meter) add(host policy.Host, bytes, requests int64) policy.Decision {
	limits := m.limits()
	if limits == (policy.Limits{}) {
		return policy.Decision{Allow: true}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.used[host]
	first := used == nil
	if first {
		if len(m.used) >= maxMetered {
			return over("hosts", maxMetered)
		}
		used = &use{place: int64(len(m.used)) * placeSize}
		m.used[host] = used
	}
	defer func() { m.store(host, used, first) }()
	used.Bytes += bytes
	if limits.Bytes > 0 && used.Bytes >= limits.Bytes {
		return over("bytes", limits.Bytes)
	}
	if limits.Requests > 0 && used.Requests+requests > limits.Requests {
		return over("requests", limits.Requests)
	}
	used.Requests += requests
	return policy.Decision{Allow: true}
}

func over(what string, limit int64) policy.Decision {
	n := strconv.FormatInt(limit, 10)
	return policy.Decision{Rule: "limits " + what + ": " + n, Reason: "this run has used its " + n + " " + what + " (network.limits)"}
}
