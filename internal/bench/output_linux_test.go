package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	bulk     = 524_288_000 // bytes that are printed
	bulkRuns = 3           // times each

	// bulkLine is what is printed again and again. Docker writes a record of some 75 bytes more for each line, so lines of
	// the usual length are the fair ones: of empty ones it would write 20 GB.
	bulkLine = "this is one of five million lines, each of a hundred bytes, which is about what programs do print.."
)

// measureOutput times a command that prints bulk bytes, attached and recorded, and weighs the processes meanwhile.
// Both sides run the same programs, which are the ones of busybox where there is an engine.
func measureOutput(t *testing.T, b *bench) {
	script := fmt.Sprintf("yes '%s' | head -c %d", bulkLine, bulk)
	if b.engine == nil {
		moat := b.command("run", "--", "sh", "-c", script)
		moat.out = buffer
		b.add(alone("500 MB attached and recorded", wall, interleave(t, bulkRuns, moat)[0]))
	} else {
		inner := strings.ReplaceAll(script, "head", "busybox head")
		moat, peer := b.command("run", "--", "busybox", "sh", "-c", "busybox "+inner), b.engine.run("sh", "-c", script)
		moat.out, peer.out = buffer, buffer
		all := interleave(t, bulkRuns, moat, peer)
		checkBulk(t, append(all[0], all[1]...))
		b.add(compare("500 MB attached and recorded", wall, all[0], all[1]).to("docker", 1.0))
	}
	if b.report.Root {
		b.weighOutput(t, script)
	}
}

func checkBulk(t *testing.T, all series) {
	t.Helper()
	for _, s := range all {
		if s.out != bulk {
			t.Errorf("%d bytes arrived, not %d", s.out, bulk)
		}
	}
}

// weighOutput finds the most memory that supervisor and guest have together while much is printed, attached, and checks
// what was recorded. The command waits until both are found.
func (b *bench) weighOutput(t *testing.T, script string) {
	t.Helper()
	gate := filepath.Join(b.dir, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	id := b.start(t, "sh", "-c", "read go </workspace/gate; "+script)
	pids := parts(t, id)
	ctx, stop := context.WithCancel(t.Context())
	most := make(chan int64, 1)
	go func() {
		n, err := watch(ctx, []int{pids["supervisor"], pids["guest"]}, private)
		if err != nil {
			t.Error(err)
		}
		most <- n
	}()
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	sum := b.digest(t, "attach", id)
	stop()
	n := inMegabytes(<-most)
	b.add(figure{Name: "500 MB, private: supervisor and guest", Unit: megabytes, N: 1, Moat: n, Min: n, Limit: 40})
	want := sha256.New()
	if _, err := io.CopyN(want, new(yes), bulk); err != nil {
		t.Fatal(err)
	}
	if sum != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("what arrived has the digest %s", sum)
	}
	if recorded := b.digest(t, "logs", id); recorded != sum {
		t.Errorf("what was recorded has the digest %s, what arrived %s", recorded, sum)
	}
	b.destroy(t, id)
}

// digest is the SHA-256 of what a moat command prints.
func (b *bench) digest(t *testing.T, args ...string) string {
	t.Helper()
	sum := sha256.New()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), b.moat, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = b.env, b.dir, sum, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("moat %q: %v\n%s", args, err, stderr.Bytes())
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// yes is what the program of that name prints.
type yes struct{ at int }

func (y *yes) Read(p []byte) (int, error) {
	const line = bulkLine + "\n"
	for n := 0; n < len(p); {
		c := copy(p[n:], line[y.at:])
		n, y.at = n+c, (y.at+c)%len(line)
	}
	return len(p), nil
}
