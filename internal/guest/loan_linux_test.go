package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// counted prints so many numbered lines on a terminal, as fast as they are taken, and is what they are.
const counted = 60_000

func countedText() []byte {
	var b bytes.Buffer
	for i := range counted {
		fmt.Fprintf(&b, "%d\n", i+1)
	}
	return b.Bytes()
}

// borrower is a host that reads a terminal itself, and dies again and again.
type borrower struct {
	*host
	rec   *record
	r     *rand.Rand
	lives int
}

// TestLoan lends a terminal to hosts that die at every point: before they take it, while they read it, with bytes that they
// have read and not recorded, and with bytes that they have recorded and not noted. Nothing is lost, nothing doubled.
func TestLoan(t *testing.T) {
	r := serve(t, nil)
	seed := rand.Uint64()
	b := &borrower{host: r.dial(), rec: newRecord(), r: rand.New(rand.NewPCG(seed, 0))}
	spawn := sh(line.Main, fmt.Sprintf("stty -opost; exec seq %d", counted))
	spawn.TTY = true
	b.send(spawn)
	for b.rec.exit == nil {
		b.lives++
		b.send(line.Borrow{Process: line.Main})
		b.live(t)
		if b.rec.exit != nil {
			break
		}
		b.Close()
		b.host = r.dial()
		b.send(line.Resume{Process: line.Main, Offset: uint64(b.rec.all.Len())})
	}
	if !bytes.Equal(b.rec.all.Bytes(), countedText()) {
		t.Errorf("seed %d: %d bytes came, want %d", seed, b.rec.all.Len(), len(countedText()))
	}
	t.Logf("%d hosts", b.lives)
}

// live takes what comes until it dies or hears of the command's end.
func (b *borrower) live(t *testing.T) {
	t.Helper()
	for left := b.r.IntN(6); ; left-- {
		switch m := b.next().(type) {
		case line.Output:
			if err := b.rec.add(m); err != nil {
				t.Fatal(err)
			}
			b.send(line.Ack{Process: line.Main, Offset: uint64(b.rec.all.Len())})
		case line.Files:
			if !slices.Equal(m.Names, line.LoanNames()) {
				t.Fatalf("lent: %q", m.Names)
			}
			ended := b.r.IntN(20) > 0 && b.read(t, m)
			for _, f := range m.Files {
				f.Close()
			}
			if !ended {
				return
			}
		case line.Exit:
			b.rec.exit = &m
			return
		}
		if left == 0 && b.r.IntN(4) == 0 {
			return
		}
	}
}

// read reads the terminal and reports whether it came to its end.
func (b *borrower) read(t *testing.T, m line.Files) bool {
	t.Helper()
	slate, err := line.OpenSlate(m.Files[1])
	if err != nil {
		t.Fatal(err)
	}
	defer slate.Close()
	if slate.Next() != uint64(b.rec.all.Len()) {
		t.Fatalf("the terminal goes on at byte %d, %d are recorded", slate.Next(), b.rec.all.Len())
	}
	raw, err := m.Files[0].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	var end error
	for range b.r.IntN(12) {
		if err := raw.Read(func(fd uintptr) bool {
			data, end = slate.Read(int(fd))
			return !errors.Is(end, unix.EAGAIN)
		}); err != nil {
			t.Fatal(err)
		}
		if end != nil {
			return true
		}
		switch b.r.IntN(10) {
		case 0:
			return false // read and not recorded
		case 1:
			b.rec.all.Write(data)
			return false // recorded and not noted
		}
		b.rec.all.Write(data)
		slate.Recorded(len(data))
	}
	return false
}

// TestLoanEnds has a host that never gives the terminal back: the guest ends all the same.
func TestLoanEnds(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	spawn := sh(line.Main, "exec cat")
	spawn.TTY, spawn.Stdin = true, true
	h.send(spawn, line.Borrow{Process: line.Main})
	for {
		if files, ok := h.next().(line.Files); ok {
			defer func(all []*os.File) {
				for _, f := range all {
					f.Close()
				}
			}(files.Files)
			break
		}
	}
	h.send(line.Shutdown{})
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestInputWhileLent types more than a terminal takes at once, on one that is lent.
func TestInputWhileLent(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	spawn := sh(line.Main, "stty raw -echo; echo ready; sleep 0.2; exec head -c 100000 >/dev/null")
	spawn.TTY, spawn.Stdin = true, true
	h.send(spawn)
	rec := newRecord()
	h.until(line.Main, rec, "ready")
	h.send(line.Borrow{Process: line.Main})
	var lent []*os.File
	taken, sent := uint64(0), uint64(0)
	piece := bytes.Repeat([]byte("k"), 10_000)
	for taken < 100_000 {
		if sent < 100_000 {
			h.send(line.Input{Process: line.Main, Source: 9, Offset: sent, Data: piece})
			sent += uint64(len(piece))
			continue
		}
		switch m := h.next().(type) {
		case line.Files:
			lent = m.Files
		case line.InputDone:
			taken = m.Offset
		}
	}
	for _, f := range lent {
		f.Close()
	}
	h.follow(line.Main, rec, func() bool { return rec.exit != nil })
	if lent == nil || rec.exit.Code != 0 {
		t.Errorf("lent: %v; %+v", lent, rec.exit)
	}
}
