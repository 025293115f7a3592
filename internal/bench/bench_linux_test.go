package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// bench is what the figures are measured with.
type bench struct {
	moat   string   // the program
	env    []string // its environment, with a MOAT_HOME of its own
	home   string   // that
	dir    string   // the workspace
	engine *engine  // nil if there is none
	bwrap  string   // "" if there is none
	report *report
}

// TestFigures takes all figures, or those that MOAT_BENCH_ONLY, a regular expression, names. MOAT_BENCH is the moat
// program; BENCH_JSON is where the report goes as JSON besides the table that is printed.
func TestFigures(t *testing.T) {
	program := os.Getenv("MOAT_BENCH")
	if program == "" {
		t.Skip("measures nothing without MOAT_BENCH, the moat program: make bench")
	}
	only, err := regexp.Compile(os.Getenv("MOAT_BENCH_ONLY"))
	if err != nil {
		t.Fatal(err)
	}
	if err := becomeParent(); err != nil {
		t.Fatal(err)
	}
	r := newReport()
	b := &bench{moat: program, dir: t.TempDir(), home: filepath.Join(scratch(t), "home"), report: &r}
	b.env = append(os.Environ(), "MOAT_HOME="+b.home)
	b.findPeers(t)
	for _, f := range figures() {
		if only.MatchString(f.name) {
			t.Run(f.name, func(t *testing.T) { f.measure(t, b) })
		}
	}
	r.Load[1] = load()
	if err := r.print(os.Stdout); err != nil {
		t.Error(err)
	}
	if path := os.Getenv("BENCH_JSON"); path != "" {
		if err := r.save(path); err != nil {
			t.Error(err)
		}
	}
}

// figures lists what there is to measure.
func figures() []struct {
	name    string
	measure func(t *testing.T, b *bench)
} {
	return []struct {
		name    string
		measure func(t *testing.T, b *bench)
	}{
		{"size", measureSize},
		{"start", measureStart},
		{"image", measureUnpack},
		{"echo", measureEcho},
		{"idle", measureIdle},
		{"list", measureList},
		{"logs", measureLogs},
		{"output", measureOutput},
		{"audit", measureAudit},
		{"network requests", measureRequests},
		{"network download", measureDownload},
		{"network burden", measureBurden},
		{"terminal attach", measureAttach},
		{"terminal keystrokes", measureKeystrokes},
		{"terminal crowd", measureCrowd},
		{"terminal output", measureTerminalOutput},
		{"terminal history", measureHistory},
	}
}

func (b *bench) findPeers(t *testing.T) {
	var why string
	if b.engine, why = startEngine(t); b.engine == nil {
		b.missing("docker: " + why)
	}
	var err error
	if b.bwrap, err = exec.LookPath("bwrap"); err != nil {
		b.missing("bwrap: not installed")
	}
}

func (b *bench) missing(what string)   { b.report.Missing = append(b.report.Missing, what) }
func (b *bench) add(figures ...figure) { b.report.Figures = append(b.report.Figures, figures...) }

// command is a moat command.
func (b *bench) command(args ...string) program {
	return program{args: append([]string{b.moat}, args...), env: b.env, dir: b.dir}
}

// measureSize weighs the program.
func measureSize(t *testing.T, b *bench) {
	info, err := os.Stat(b.moat)
	if err != nil {
		t.Fatal(err)
	}
	size := inMegabytes(info.Size())
	b.add(figure{Name: "binary, stripped", Unit: megabytes, N: 1, Moat: size, Min: size, Limit: 20})
}
