package image

import (
	"errors"
	"fmt"
	"sync"
)

var (
	// ErrHostile is returned for an image that no honest builder makes, or one that is larger than moat unpacks. The text says what
	// is wrong with it.
	ErrHostile = errors.New("the image was refused")
	// ErrDenied is returned when the registry wants credentials, or others. Many say so of images that do not exist as well.
	ErrDenied = errors.New("the registry gives it to nobody without the right to it")
)

func hostile(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrHostile, fmt.Errorf(format, args...))
}

// Limits bound what one image may cost. A zero field takes its value of [DefaultLimits].
type Limits struct {
	Bytes   int64 // of all files together, unpacked
	Entries int64 // files, directories and links
	Layers  int
	// Ratio is how many times larger than its compressed form a layer may be, beyond a first 64 MiB.
	Ratio int64
	// Free is how much room, in bytes, is left free on the file system.
	Free int64
}

// DefaultLimits are far above what images of development tools need: some have 30 GB, 400,000 files and 40 layers. Text compresses
// to a tenth; only what repeats itself compresses to a hundredth.
func DefaultLimits() Limits {
	return Limits{Bytes: 100 << 30, Entries: 2 << 20, Layers: 128, Ratio: 100, Free: 512 << 20}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Bytes == 0 {
		l.Bytes = d.Bytes
	}
	if l.Entries == 0 {
		l.Entries = d.Entries
	}
	if l.Layers == 0 {
		l.Layers = d.Layers
	}
	if l.Ratio == 0 {
		l.Ratio = d.Ratio
	}
	if l.Free == 0 {
		l.Free = d.Free
	}
	return l
}

// ratioFree is what a layer may hold whatever its compressed form is, in bytes.
const ratioFree = 64 << 20

// archiveBytes is how long the archive of a layer may be that has size bytes, compressed.
func (l Limits) archiveBytes(size int64) int64 {
	if size > (l.Bytes-ratioFree)/l.Ratio {
		return l.Bytes
	}
	return min(l.Bytes, ratioFree+size*l.Ratio)
}

// budget is what is left of the limits of one image. Its layers, which are unpacked at the same time, share it.
type budget struct {
	limits Limits

	mu             sync.Mutex // guards the rest
	bytes, entries int64      // used
}

// spend takes room for n bytes and some entries.
func (b *budget) spend(n, entries int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += n
	b.entries += entries
	switch {
	case b.bytes > b.limits.Bytes:
		return hostile("its files have more than %d bytes", b.limits.Bytes)
	case b.entries > b.limits.Entries:
		return hostile("it has more than %d files", b.limits.Entries)
	}
	return nil
}
