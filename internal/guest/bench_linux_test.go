package guest_test

import (
	"os"
	"testing"

	"moat/internal/line"
)

// BenchmarkOutput moves what a command prints from its pipe to a host that acknowledges every frame.
func BenchmarkOutput(b *testing.B) {
	const size = 100_000_000
	for name, script := range map[string]string{"dd": "dd if=/dev/zero bs=64k count=100000000 iflag=count_bytes 2>/dev/null", "yes": "yes | head -c 100000000"} {
		b.Run(name, func(b *testing.B) {
			h := serve(b, nil).dial()
			h.send(sh(1, "sleep 1000"))
			b.SetBytes(size)
			id := uint32(1)
			for b.Loop() {
				id++
				h.send(sh(id, script))
				for n := uint64(0); n < size; {
					if o, ok := h.next().(line.Output); ok {
						n += uint64(len(o.Data))
						h.send(line.Ack{Process: id, Offset: n})
					}
				}
				h.send(line.Release{Process: id})
			}
		})
	}
}

// BenchmarkSpawn starts a command and waits for its exit.
func BenchmarkSpawn(b *testing.B) {
	h := serve(b, nil).dial()
	h.send(sh(1, "sleep 1000"))
	id := uint32(1)
	for b.Loop() {
		id++
		if rec := h.run(line.Spawn{Process: id, Args: []string{"true"}}); rec.exit.Code != 0 {
			b.Fatal(rec.exit)
		}
		h.send(line.Release{Process: id})
	}
}

// BenchmarkEcho is one key typed into a terminal and the answer of a program that reads it.
func BenchmarkEcho(b *testing.B) {
	h := serve(b, nil).dial()
	h.send(line.Spawn{Process: 1, Args: []string{"sh", "-c", "stty raw -echo; echo ready; exec cat"}, Env: os.Environ(), TTY: true, Stdin: true})
	rec := newRecord()
	h.until(1, rec, "ready\n")
	out, in := uint64(rec.all.Len()), uint64(0)
	for b.Loop() {
		h.send(line.Input{Process: 1, Source: 1, Offset: in, Data: []byte("x")})
		for in++; ; {
			if o, ok := h.next().(line.Output); ok {
				out += uint64(len(o.Data))
				h.send(line.Ack{Process: 1, Offset: out})
				break
			}
		}
	}
}
