package bench

import (
	"bufio"
	"io"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// starts is how often each program is started; the peers in turn with moat.
const starts = 25

// measureStart times whole runs of commands that do next to nothing.
func measureStart(t *testing.T, b *bench) {
	moat := b.command("run", "--", "true")
	if b.bwrap != "" {
		peer := program{args: []string{b.bwrap, "--unshare-all", "--ro-bind", "/", "/", "true"}}
		all := interleave(t, starts, moat, peer)
		b.add(compare("run -- true", wall, all[0], all[1]).to("bwrap", 12),
			compare("run -- true, CPU of all processes", cpu, all[0], all[1]).to("bwrap", 0))
	}
	if b.engine == nil {
		return
	}
	all := interleave(t, starts, moat, b.engine.run("true"))
	b.add(compare("run -- true", wall, all[0], all[1]).to("docker", 0.20))

	moat, peer := b.command("run", "--", "echo", "MARK"), b.engine.run("echo", "MARK")
	moat.out, peer.out = buffer, buffer
	all = interleave(t, starts, moat, peer)
	b.add(compare("first byte of output", first, all[0], all[1]).to("docker", 0.15))
}

// echoes is how many keystrokes are timed, after the same number that are not.
const echoes = 200

// measureEcho times one byte to the command and back.
func measureEcho(t *testing.T, b *bench) {
	mine := echo(t, b.command("run", "-i", "--", "cat"))
	f := figure{Name: "one byte in and out again", Unit: milliseconds, N: len(mine),
		Moat: inMilliseconds(median(mine)), Min: inMilliseconds(mine[0])}
	if b.engine != nil {
		others := echo(t, b.engine.runWith([]string{"-i"}, "cat"))
		f.Peer, f.Least = inMilliseconds(median(others)), inMilliseconds(others[0])
		f = f.to("docker", 0)
	}
	b.add(f)
}

// echo returns the sorted times of single bytes through the program, which is a cat.
func echo(t *testing.T, p program) []time.Duration {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.args[0], p.args[1:]...)
	cmd.Env, cmd.Dir = p.env, p.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	var all []time.Duration
	for i := range 2 * echoes {
		start := time.Now()
		if _, err := io.WriteString(in, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.ReadByte(); err != nil {
			t.Fatal(err)
		}
		if i >= echoes {
			all = append(all, time.Since(start))
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%q: %v", p.args, err)
	}
	settle(t)
	slices.Sort(all)
	return all
}
