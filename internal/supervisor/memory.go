package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"moat/internal/ca"
)

// Places in the guard's memory, which supervisors hand on to their successors. What was not written there reads as zeros or
// ends.
const (
	memoryAuthority = 0        // the run's authority, as package ca keeps it
	memoryProxy     = 64 << 10 // length, 4 bytes, and the URL of the upstream proxy, with its password
	memoryMeter     = 1 << 20  // what the limits of the policy have counted; the rest of the memory is its
	maxProxy        = 8 << 10
)

// memory is a part of the guard's memory, from a place on.
func (s *supervisor) memory(place int64) interface {
	io.ReaderAt
	io.WriterAt
} {
	return struct {
		io.ReaderAt
		io.WriterAt
	}{io.NewSectionReader(s.Memory, place, math.MaxInt64-place), io.NewOffsetWriter(s.Memory, place)}
}

// authority is the run's certificate authority: the one that a predecessor has kept in the guard's memory, or a new one.
func (s *supervisor) authority(name string) (*ca.Authority, error) {
	if s.Memory == nil {
		return ca.New(name, time.Now())
	}
	if kept, err := ca.Resume(io.NewSectionReader(s.Memory, memoryAuthority, memoryProxy-memoryAuthority)); err == nil {
		return kept, nil
	}
	a, err := ca.New(name, time.Now())
	if err != nil {
		return nil, err
	}
	return a, a.Keep(io.NewOffsetWriter(s.Memory, memoryAuthority))
}

// upstreamProxy is the URL of the plan, which has no password, with its password: the client has said it once.
func (s *supervisor) upstreamProxy(planned string) (string, error) {
	if s.Start != nil && s.Start.UpstreamProxy != "" {
		return s.Start.UpstreamProxy, s.keepProxy(s.Start.UpstreamProxy)
	}
	if planned == "" || s.Memory == nil {
		return planned, nil
	}
	var size [4]byte
	if _, err := s.Memory.ReadAt(size[:], memoryProxy); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the guard's memory: %w", err)
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n == 0 || n > maxProxy {
		return planned, nil
	}
	kept := make([]byte, n)
	if _, err := s.Memory.ReadAt(kept, memoryProxy+int64(len(size))); err != nil {
		return "", fmt.Errorf("read the guard's memory: %w", err)
	}
	return string(kept), nil
}

func (s *supervisor) keepProxy(url string) error {
	if s.Memory == nil || len(url) > maxProxy {
		return nil
	}
	kept := append(binary.LittleEndian.AppendUint32(nil, uint32(len(url))), url...)
	if _, err := s.Memory.WriteAt(kept, memoryProxy); err != nil {
		return fmt.Errorf("use the guard's memory: %w", err)
	}
	return nil
}
