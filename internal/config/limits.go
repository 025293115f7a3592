package config

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
)

// Bounds of the limits. The smallest memory is Docker's. The smallest number of
// processes counts threads, as the kernel does, and leaves room for moat's own
// in the sandbox; the largest is PID_MAX_LIMIT of Linux. The most CPUs is the
// largest NR_CPUS that Linux can be built with.
const (
	MinMemory = 6 << 20
	MaxMemory = 1 << 50
	MinPIDs   = 16
	MaxPIDs   = 4 << 20
	MaxCPUs   = 8192
)

// Limits are upper bounds on what a run uses. Zero means that none was given.
type Limits struct {
	Memory    int64 // bytes
	MilliCPUs int64 // thousandths of a CPU
	PIDs      int64 // processes and threads
}

// ParseLimits reads the limits as flags and the file spell them. An empty text
// means that none was given.
func ParseLimits(memory, cpus, pids string) (Limits, error) {
	var l Limits
	for _, one := range []struct {
		name, text string
		parse      func(string) (int64, error)
		into       *int64
	}{
		{"memory", memory, parseMemory, &l.Memory},
		{"cpus", cpus, parseCPUs, &l.MilliCPUs},
		{"pids", pids, parsePIDs, &l.PIDs},
	} {
		if one.text == "" {
			continue
		}
		value, err := one.parse(one.text)
		if err != nil {
			return Limits{}, fmt.Errorf("%s: %w", one.name, err)
		}
		*one.into = value
	}
	return l, nil
}

// ParseSize reads a number of bytes in Docker's spelling: a number, with a
// fraction if wanted, and one of b, k, m, g, t or p, each 1024 times the one
// before. The unit may be followed by b or ib; capitals do not matter.
func ParseSize(text string) (int64, error) {
	const hint = `write a number and a unit, such as "512m" or "2g"`
	form := regexp.MustCompile(`^(\d{1,19}(?:\.\d{1,19})?) ?([kmgtp]?)(?:i?b)?$`)
	parts := form.FindStringSubmatch(strings.ToLower(text))
	if parts == nil {
		return 0, badValue(hint, "%s is not a size", shorten(text))
	}
	unit := int64(1) << (10 * (strings.Index("kmgtp", parts[2]) + 1))
	if parts[2] == "" {
		unit = 1
	}
	return scaled(parts[1], unit, text)
}

// scaled returns number times unit without the rounding of floating point; a
// fraction of the result is dropped.
func scaled(number string, unit int64, text string) (int64, error) {
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, badValue("", "%s is not a number", shorten(text))
	}
	value.Mul(value, new(big.Rat).SetInt64(unit))
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if !whole.IsInt64() {
		return 0, badValue("", "%s is more than %d", shorten(text), int64(math.MaxInt64))
	}
	return whole.Int64(), nil
}

func parseMemory(text string) (int64, error) {
	size, err := ParseSize(text)
	if err != nil {
		return 0, err
	}
	if size < MinMemory || size > MaxMemory {
		return 0, badValue("", "%s is not between 6m and 1024t", shorten(text))
	}
	return size, nil
}

func parseCPUs(text string) (int64, error) {
	if !regexp.MustCompile(`^\d{1,9}(\.\d{1,9})?$`).MatchString(text) {
		return 0, badValue(`write a number, such as "2" or "1.5"`, "%s is not a number of CPUs", shorten(text))
	}
	milli, err := scaled(text, 1000, text)
	if err != nil {
		return 0, err
	}
	if milli < 10 || milli > MaxCPUs*1000 {
		return 0, badValue("", "%s is not between 0.01 and %d", shorten(text), MaxCPUs)
	}
	return milli, nil
}

func parsePIDs(text string) (int64, error) {
	if !regexp.MustCompile(`^\d{1,9}$`).MatchString(text) {
		return 0, badValue("write a whole number", "%s is not a number of processes", shorten(text))
	}
	pids, err := scaled(text, 1, text)
	if err != nil {
		return 0, err
	}
	if pids < MinPIDs || pids > MaxPIDs {
		return 0, badValue("", "%s is not between %d and %d", shorten(text), MinPIDs, MaxPIDs)
	}
	return pids, nil
}
