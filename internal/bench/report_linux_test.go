package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Units of a figure's values.
const (
	milliseconds = "ms"
	microseconds = "µs"
	megabytes    = "MB" // 10^6 bytes
	times        = "x"
)

// figure is one line of the report.
type figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"` // of Moat, Min and Peer
	N     int     `json:"n"`
	Moat  float64 `json:"moat"` // median, or the one value that was measured
	Min   float64 `json:"min"`
	Peer  float64 `json:"peer,omitempty"` // median; 0 where the limit is absolute
	Least float64 `json:"peer_min,omitempty"`
	Of    string  `json:"of,omitempty"` // what the peer is
	Limit float64 `json:"limit"`        // of the ratio to the peer, or of Moat where there is none; 0: only to be known
}

// value is what the limit is for.
func (f figure) value() float64 {
	if f.Of == "" {
		return f.Moat
	}
	return f.Moat / f.Peer
}

// verdict is a word about the figure.
func (f figure) verdict() string {
	switch {
	case f.Limit == 0:
		return ""
	case f.value() <= f.Limit:
		return "ok"
	default:
		return "OVER"
	}
}

// compare makes a figure of moat's samples and a peer's.
func compare(name string, pick func(sample) time.Duration, moat, peer series) figure {
	mine, others := moat.of(pick), peer.of(pick)
	return figure{
		Name: name, Unit: milliseconds, N: len(mine),
		Moat: inMilliseconds(median(mine)), Min: inMilliseconds(mine[0]),
		Peer: inMilliseconds(median(others)), Least: inMilliseconds(others[0]),
	}
}

// alone makes a figure of moat's samples with an absolute limit.
func alone(name string, pick func(sample) time.Duration, moat series) figure {
	mine := moat.of(pick)
	return figure{Name: name, Unit: milliseconds, N: len(mine), Moat: inMilliseconds(median(mine)), Min: inMilliseconds(mine[0])}
}

// to gives the figure its peer's name and its limit.
func (f figure) to(peer string, limit float64) figure {
	f.Of, f.Limit = peer, limit
	return f
}

func inMilliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }
func inMegabytes(n int64) float64            { return round(float64(n) / 1e6) }
func round(v float64) float64                { return math.Round(v*1000) / 1000 }

// report is what `make bench` found.
type report struct {
	Time    time.Time  `json:"time"`
	Kernel  string     `json:"kernel"`
	CPUs    int        `json:"cpus"`
	Root    bool       `json:"root"`
	Load    [2]float64 `json:"load"` // one-minute load average before and after
	Figures []figure   `json:"figures"`
	Missing []string   `json:"missing"` // what could not be measured, and why
}

func newReport() report {
	var name unix.Utsname
	_ = unix.Uname(&name) // fails for bad addresses only (uname(2))
	return report{
		Time: time.Now().UTC(), Kernel: unix.ByteSliceToString(name.Release[:]), CPUs: runtime.NumCPU(),
		Root: os.Geteuid() == 0, Load: [2]float64{load(), 0}, Figures: []figure{}, Missing: []string{},
	}
}

// load is the one-minute load average, -1 if it is unknown.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	var one float64
	if err == nil {
		_, err = fmt.Sscan(string(text), &one)
	}
	if err != nil {
		return -1
	}
	return one
}

// print writes the report as a table.
func (r report) print(w io.Writer) error {
	user := "an ordinary user"
	if r.Root {
		user = "root"
	}
	fmt.Fprintf(w, "\nLinux %s, %d CPUs, as %s, load %.1f before and %.1f after. Medians, minima in brackets; where the load is\nhigh, trust the minima and the CPU time.\n\n", r.Kernel, r.CPUs, user, r.Load[0], r.Load[1])
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "figure\tn\tmoat\tpeer\tratio\t(of minima)\tlimit\t")
	for _, f := range r.Figures {
		fmt.Fprintln(table, strings.Join(f.cells(), "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, m := range r.Missing {
		fmt.Fprintln(w, "not measured:", m)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (f figure) cells() []string {
	cells := []string{f.Name, fmt.Sprint(f.N), amount(f.Moat, f.Min, f.Unit), "", "", "", ""}
	if f.Of != "" {
		cells[3] = amount(f.Peer, f.Least, f.Unit) + " " + f.Of
		cells[4] = fmt.Sprintf("%.2f", f.value())
		cells[5] = fmt.Sprintf("(%.2f)", f.Min/f.Least)
	}
	if f.Limit > 0 {
		cells[6] = fmt.Sprintf("≤ %v  %s", f.Limit, f.verdict())
	}
	return cells
}

func amount(median, least float64, unit string) string {
	if median == least {
		return fmt.Sprintf("%.1f %s", median, unit)
	}
	return fmt.Sprintf("%.1f (%.1f) %s", median, least, unit)
}

// save writes the report as JSON.
func (r report) save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
