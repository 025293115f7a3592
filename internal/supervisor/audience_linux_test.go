package supervisor

import (
	"bytes"
	"testing"
	"time"

	"moat/internal/api"
	"moat/internal/journal"
)

// TestAudience shows pieces to one who reads, one who does not, and one who only watches.
func TestAudience(t *testing.T) {
	var a audience
	seat := func(watches bool) (*viewer, *api.Stream) {
		ours, theirs := connected(t)
		v := &viewer{client: &client{Stream: api.NewStream(ours, nil)}, watches: watches, left: make(chan struct{})}
		return v, api.NewStream(theirs, nil)
	}
	reader, in := seat(true)
	deaf, _ := seat(false)
	watcher, _ := seat(true)
	a.lead(reader.client)
	for _, v := range []*viewer{watcher, deaf, reader} {
		if !a.join(v) {
			t.Fatal("nothing was shown yet, and somebody has missed it")
		}
	}
	late := &viewer{client: &client{}, next: 5}
	if a.join(late) {
		t.Error("one joined that is elsewhere")
	}
	var want bytes.Buffer
	read := func() []byte {
		t.Helper()
		kind, payload, err := in.Next()
		if err != nil || kind != api.KindOutput {
			t.Fatalf("%q, %v", kind, err)
		}
		out, err := api.ParseOutput(payload)
		if err != nil || out.Offset != int64(want.Len()) {
			t.Fatalf("it goes on at %d, want %d, %v", out.Offset, want.Len(), err)
		}
		return out.Data
	}
	for i := range 100 {
		piece := bytes.Repeat([]byte{'a' + byte(i%26)}, 10_000)
		a.show(journal.Chunk{Stream: journal.Terminal, Offset: int64(want.Len()), Data: piece, Time: time.Now()})
		if got := read(); !bytes.Equal(got, piece) {
			t.Fatalf("piece %d: %.20q", i, got)
		}
		want.Write(piece)
	}
	for name, v := range map[string]*viewer{"who does not read": deaf, "who watches": watcher} {
		select {
		case <-v.left:
		case <-time.After(60 * time.Second):
			t.Errorf("the one %s was not let go", name)
		}
		a.leave(v)
	}
	if watcher.next != 0 {
		t.Errorf("the one who watches was sent the first %d bytes between a key and its echo", watcher.next)
	}
	if deaf.next == 0 || deaf.next >= int64(want.Len()) {
		t.Errorf("the one who does not read was sent %d bytes of %d", deaf.next, want.Len())
	}
	a.leave(reader)
	if len(a.viewers)+len(a.late) != 0 {
		t.Errorf("%d and %d are left", len(a.viewers), len(a.late))
	}
}
