package ledger

import (
	"testing"
	"time"

	"moat/internal/audit"
)

// fields are those of a network record.
func fields(i int) []audit.Field {
	return []audit.Field{
		audit.Number("line", i), audit.Text("sha256", "9fe042ae1898fae9982a26c6d9c080a4a2add1ad8fc850c02073f4b2d77f53df"), audit.Number("id", i),
		audit.Text("what", "http"), audit.Text("host", "api.github.com"), audit.Text("decision", "allow"), audit.Flag("end", i%2 == 1),
	}
}

// BenchmarkAppend appends as network records come in batches, with a checkpoint and a sync every 50,000.
func BenchmarkAppend(b *testing.B) {
	r := newRig(b, runID)
	var err error
	r.log, _, err = Open(r.dir, nil)
	r.must(err)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.must(r.log.Append(time.Now(), "network", fields(i)...))
		if i++; i%64 == 0 {
			r.must(r.log.Flush())
		}
		if i%50_000 == 0 {
			r.sign()
		}
	}
	r.must(r.log.Close())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkVerify(b *testing.B) {
	for name, n := range map[string]int{"100k": 100_000, "1M": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, runID)
			var err error
			r.log, _, err = Open(r.dir, nil)
			r.must(err)
			for i := range n {
				r.must(r.log.Append(time.Now(), "event", fields(i)...))
				if i%5000 == 0 {
					r.sign()
				}
			}
			r.sign()
			r.must(r.log.Close())
			keys, err := r.machine.Keys()
			r.must(err)
			b.ReportAllocs()
			for b.Loop() {
				in, err := OpenReader(r.dir)
				r.must(err)
				c := checker{run: r.id, keys: func() []audit.Key { return keys.Own }}
				if err := c.verify(in.file); err != nil || !c.Valid() || c.Entries != int64(n) {
					b.Fatal(err, c.Report)
				}
				in.Close()
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/record")
		})
	}
}
