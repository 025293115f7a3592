package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/journal"
	"moat/internal/plan"
	"moat/internal/run"
)

const (
	finished  = 1000    // runs to list
	looks     = 25      // times that something small is read
	gigabyte  = 1 << 30 // of output
	readings  = 5       // times that all of it is read
	chunkSize = 32 << 10
)

// measureList times the list of many runs that have ended.
func measureList(t *testing.T, b *bench) {
	home, restore := b.fresh(t)
	defer restore()
	for range finished {
		f := endedRun(t, home)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	list := b.command("list", "-a")
	list.out = buffer
	b.add(alone("list -a, 1000 ended runs", wall, interleave(t, looks, list)[0]).to("", 60))
}

// fresh gives b a home of its own until restore is called.
func (b *bench) fresh(t *testing.T) (home *run.Home, restore func()) {
	t.Helper()
	before := b.env
	path := filepath.Join(scratch(t), "home")
	home, err := run.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b.env = append(before[:len(before):len(before)], "MOAT_HOME="+path)
	return home, func() { b.env = before }
}

// endedRun makes a run that has ended. The caller closes the folder.
func endedRun(t *testing.T, home *run.Home) *run.Folder {
	t.Helper()
	now := time.Now()
	f, err := home.Create(plan.Plan{Workspace: "/tmp", Runtime: "native", Command: []string{"make", "test"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	code := 0
	err = errors.Join(
		f.Do(run.EventStart, now, nil), f.Do(run.EventUp, now, nil),
		f.Do(run.EventEnd, now, func(r *run.Record) { r.ExitCode = &code }))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// measureLogs times reading a long record, and weighs who reads it.
func measureLogs(t *testing.T, b *bench) {
	home, restore := b.fresh(t)
	defer restore()
	f := endedRun(t, home)
	defer f.Close()
	fill(t, f.Dir())
	id := f.Record().ID

	tail := b.command("logs", "-n", "100", id)
	tail.out = buffer
	b.add(alone("logs -n 100 of 1 GiB", wall, interleave(t, looks, tail)[0]).to("", 30))

	all, cat := b.command("logs", id), program{args: []string{"cat", filepath.Join(f.Dir(), journal.LogName)}}
	all.out, cat.out = buffer, buffer
	got := interleave(t, readings, all, cat)
	for _, s := range append(got[0], got[1]...) {
		if s.out != gigabyte {
			t.Errorf("%d bytes were read, not %d", s.out, gigabyte)
		}
	}
	b.add(compare("logs of 1 GiB", wall, got[0], got[1]).to("cat", 3))
	n := inMegabytes(b.peakOf(t, "logs", id))
	b.add(figure{Name: "logs of 1 GiB, resident", Unit: megabytes, N: 1, Moat: n, Min: n, Limit: 40})
}

// fill records a gigabyte of lines of many lengths, as it would have been printed.
func fill(t *testing.T, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	out, _, err := journal.OpenOutput(root)
	if err != nil {
		t.Fatal(err)
	}
	var chunk []byte
	for n := 1; len(chunk) < chunkSize; n = n*7%251 + 1 {
		chunk = append(append(chunk, bytes.Repeat([]byte("x"), n)...), '\n')
	}
	chunk = chunk[:chunkSize]
	began := time.Now().Add(-time.Hour)
	for i := 0; out.Offset() < gigabyte; i++ {
		at := began.Add(time.Duration(i) * 10 * time.Millisecond)
		if err := out.Append(journal.Chunk{Time: at, Stream: journal.Stdout, Offset: out.Offset(), Data: chunk}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// peakOf is the most resident memory of a moat command while it prints.
func (b *bench) peakOf(t *testing.T, args ...string) int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.moat, args...)
	cmd.Env, cmd.Dir = b.env, b.dir
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	most := make(chan int64, 1)
	go func() {
		n, err := watch(ctx, []int{cmd.Process.Pid}, peak)
		if err != nil {
			t.Error(err)
		}
		most <- n
	}()
	for buf := buffer(); ; {
		if _, err := pipe.Read(buf); err != nil {
			break
		}
	}
	err = cmd.Wait()
	stop()
	if n := <-most; err == nil {
		return n
	}
	t.Fatalf("moat %q: %v", args, err)
	return 0
}
