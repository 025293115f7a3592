package guest

import (
	"io"
	"os"
	"testing"
	"time"

	"moat/internal/line"
)

// TestLoanToNobody: a terminal whose host has gone while it was to be lent is not kept for that host.
func TestLoanToNobody(t *testing.T) {
	for name, late := range map[string]bool{"offered after another host has come": true, "offered before": false} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(Config{})
			first, second := &session{g: g}, &session{g: g}
			st, err := openStreams(line.Spawn{TTY: true})
			if err != nil {
				t.Fatal(err)
			}
			defer st.closeOurs()
			defer st.closeChild()
			p := newProcess(g, line.Main, 1, first)
			file := st.readers[0].file
			p.tty, p.open, p.loan.wanted = st.tty, []*os.File{file}, first
			if late {
				if err := p.resume(second, 0); err != nil {
					t.Fatal(err)
				}
			}
			waits, err := p.offerLoan(file)
			if late {
				if err == nil {
					t.Fatal("it is offered to a host that has gone")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer waits.Close()
			if err := p.resume(second, 0); err != nil {
				t.Fatal(err)
			}
			if err := waits.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, waits); err != nil {
				t.Fatalf("it is waited for: %v", err)
			}
		})
	}
}
