package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	attaches     = 25 // of each keeper
	keystrokes   = 500
	crowd        = 20 // clients of one run
	crowdStrokes = 500

	terminalBulk     = 200_000_000 // bytes that are printed on a terminal
	terminalBulkRuns = 3           // times each

	history = 10_000 // lines that have scrolled off the screen
)

// never is how long it may take a keeper that does not repaint to do so.
const never = time.Second

// screenful draws a screen of text in colours, whose last row ends with the mark "#END", and then is silent.
const screenful = `i=1; while [ $i -lt 24 ]; do printf '\033[%d;1H\033[3%dmrow %d\033[m of a \033[1;4;38;5;%dmscreen\033[m that is worth looking at, from end to end' $i $((i%8)) $i $((i*9)); i=$((i+1)); done
printf '\033[24;1H%s' '#''END'; exec sleep 100000`

// echoing echoes every byte by itself.
const echoing = `stty raw -echo; printf '%s' 'RE''ADY'; exec cat`

// measureAttach times from the start of a client to the end of the repaint.
func measureAttach(t *testing.T, b *bench) {
	keepers := b.keepers(t)
	for _, k := range keepers {
		k.start(t, "screenful", screenful)
	}
	times := make([][]time.Duration, len(keepers))
	silent := make([]bool, len(keepers))
	for round := range attaches + 1 {
		for i, k := range keepers {
			if silent[i] {
				continue
			}
			v := view(t, k.attach("screenful"))
			limit := never
			if i < 2 {
				limit = runLimit
			}
			err := v.await("#END", limit)
			took := time.Since(v.begun)
			v.hangUp()
			switch {
			case errors.Is(err, errSilent) && i > 1:
				silent[i] = true
				b.missing("attach → repaint, " + k.name + ": it does not repaint")
			case err != nil:
				t.Fatalf("%s: %v", k.name, err)
			case round > 0:
				times[i] = append(times[i], took)
			}
		}
	}
	b.compareKeepers("attach → repaint", keepers, times, 1.0)
}

// compareKeepers adds moat's median against that of each other keeper. The limit is for tmux.
func (b *bench) compareKeepers(name string, keepers []keeper, times [][]time.Duration, limit float64) {
	b.compareAt(name, keepers, times, func(sorted []time.Duration) time.Duration { return median(sorted) }, limit)
}

func (b *bench) compareAt(name string, keepers []keeper, times [][]time.Duration, pick func([]time.Duration) time.Duration, limit float64) {
	for i := range times {
		slices.Sort(times[i])
	}
	for i, k := range keepers[1:] {
		if peer := times[i+1]; len(peer) > 0 {
			f := figure{
				Name: name, Unit: milliseconds, N: len(times[0]),
				Moat: inMilliseconds(pick(times[0])), Min: inMilliseconds(times[0][0]),
				Peer: inMilliseconds(pick(peer)), Least: inMilliseconds(peer[0]),
			}
			if k.name != "tmux" {
				b.add(f.to(k.name, 0))
				continue
			}
			b.add(f.to(k.name, limit))
		}
	}
}

// p99 of a sorted list.
func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// measureKeystrokes times a keystroke to the command and back to the screen. The keepers take turns stroke by stroke,
// so that what else the machine does meets all of them alike.
func measureKeystrokes(t *testing.T, b *bench) {
	keepers := b.keepers(t)
	viewers := make([]*viewer, len(keepers))
	for i, k := range keepers {
		k.start(t, "echoing", echoing)
		viewers[i] = view(t, k.attach("echoing"))
		defer viewers[i].hangUp()
		viewers[i].ready(t)
	}
	times := make([][]time.Duration, len(keepers))
	for round := range keystrokes + 50 {
		for i, v := range viewers {
			if took := v.stroke(t); round >= 50 {
				times[i] = append(times[i], took)
			}
		}
	}
	b.compareKeepers("keystroke → echo, p50", keepers, times, 1.1)
	b.compareAt("keystroke → echo, p99", keepers, times, p99, 1.1)
}

// ready types until the first echo has come: a keeper that does not repaint shows nothing before. It begins when the
// client has made its terminal raw, so that no echo is the terminal's own.
func (v *viewer) ready(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(runLimit); ; {
		if v.raw(t) {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%q: the terminal was not made raw", v.cmd.Args)
		}
		time.Sleep(time.Millisecond) // sleep: no message tells of a terminal's settings
	}
	for range 100 {
		if _, err := v.tty.WriteString("@"); err != nil {
			t.Fatal(err)
		}
		if v.await("@", 200*time.Millisecond) == nil {
			return
		}
	}
	t.Fatalf("%q: nothing is echoed", v.cmd.Args)
}

// raw reports whether the terminal does not echo by itself.
func (v *viewer) raw(t *testing.T) bool {
	t.Helper()
	conn, err := v.tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var settings *unix.Termios
	if cerr := conn.Control(func(fd uintptr) { settings, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return settings.Lflag&unix.ECHO == 0
}

// stroke times one keystroke. No escape sequence holds the character.
func (v *viewer) stroke(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := v.tty.WriteString("#"); err != nil {
		t.Fatal(err)
	}
	v.seen(t, "#")
	return time.Since(start)
}

// measureCrowd times keystrokes in a run that prints all the time, with one client and with many.
func measureCrowd(t *testing.T, b *bench) {
	k := b.moatKeeper(t)
	k.start(t, "crowd", `(while sleep 0.02; do echo "something to see"; done) & `+echoing)
	first := view(t, k.attach("crowd"))
	defer first.hangUp()
	first.ready(t)
	alone := first.strokes(t)
	for range crowd - 1 {
		v := view(t, k.attach("crowd"))
		defer v.hangUp()
		v.seen(t, "something")
		go func() {
			for range v.pieces { // it reads all and looks at nothing
			}
		}()
	}
	crowded := first.strokes(t)
	for _, p := range []struct {
		name  string
		pick  func([]time.Duration) time.Duration
		limit float64
	}{{"p50", median[time.Duration], 0}, {"p99", p99, 2}} {
		b.add(figure{
			Name: fmt.Sprintf("keystroke, %d clients, %s", crowd, p.name), Unit: milliseconds, N: crowdStrokes,
			Moat: inMilliseconds(p.pick(crowded)), Min: inMilliseconds(crowded[0]),
			Peer: inMilliseconds(p.pick(alone)), Least: inMilliseconds(alone[0]),
		}.to("one client", p.limit))
	}
}

// strokes are sorted times.
func (v *viewer) strokes(t *testing.T) []time.Duration {
	t.Helper()
	var all []time.Duration
	for range crowdStrokes {
		all = append(all, v.stroke(t))
	}
	slices.Sort(all)
	return all
}

// measureTerminalOutput times much output through an attached client, and checks that moat has recorded all of it.
func measureTerminalOutput(t *testing.T, b *bench) {
	keepers := b.keepers(t)
	times := make([][]time.Duration, len(keepers))
	for round := range terminalBulkRuns {
		for i, k := range keepers {
			if round > 0 && len(times[i]) < round {
				continue // it has failed
			}
			session := fmt.Sprintf("bulk%d", round)
			k.start(t, session, fmt.Sprintf(`printf '%%s' 'RE''ADY'; read go; yes '%s' | head -c %d; printf '\n%%s' '#''END'; exec sleep 100000`, bulkLine, terminalBulk))
			v := view(t, k.attach(session))
			_ = v.await("READY", never) // some do not show it
			start := time.Now()
			if _, err := v.tty.WriteString("\r"); err != nil {
				t.Fatal(err)
			}
			err := v.await("#END", runLimit)
			if took := time.Since(start); err == nil {
				times[i] = append(times[i], took)
			}
			v.hangUp()
			if err != nil && i < 2 {
				t.Fatalf("%s: %v", k.name, err)
			} else if err != nil {
				b.missing(fmt.Sprintf("200 MB on an attached terminal, %s: %v", k.name, err))
			}
			if i == 0 {
				b.recordedBulk(t, session)
			}
		}
	}
	b.compareKeepers("200 MB on an attached terminal", keepers, times, 1.0)
}

// recordedBulk checks that all that was printed is on record.
func (b *bench) recordedBulk(t *testing.T, session string) {
	t.Helper()
	raw := []byte(b.output(t, "logs", "--raw", session))
	text := bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	_, text, _ = bytes.Cut(text, []byte("READY\n"))
	want := bytes.Repeat([]byte(bulkLine+"\n"), terminalBulk/(len(bulkLine)+1)+1)[:terminalBulk]
	if !bytes.HasPrefix(text, want) {
		t.Errorf("of %d bytes on a terminal not all are on record: %d bytes are", terminalBulk, len(raw))
	}
}

// measureHistory weighs a run whose terminal has scrolled far.
func measureHistory(t *testing.T, b *bench) {
	if os.Geteuid() != 0 {
		b.missing("memory of a terminal: that of a guest is for root to read")
		return
	}
	id := strings.TrimSpace(b.output(t, "run", "-d", "-it", "--", "sh", "-c",
		fmt.Sprintf(`yes '%s' | head -n %d; printf '%%s' '#''END'; exec sleep 100000`, bulkLine, 2*history)))
	v := view(t, b.command("-q", "attach", id))
	v.seen(t, "#END")
	v.hangUp()
	time.Sleep(idleAfter) // sleep: idleness is the passing of time
	var sum int64
	for _, pid := range parts(t, id) {
		n, err := private(pid)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	n := inMegabytes(sum)
	b.add(figure{Name: "a terminal with 10,000 lines, private: all", Unit: megabytes, N: 1, Moat: n, Min: n, Limit: 20})
	b.destroy(t, id)
}
