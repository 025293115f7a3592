package journal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{20, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			o := openOutput(b, openRoot(b, b.TempDir()))
			data := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for off := int64(0); b.Loop(); off += int64(size) {
				if err := o.Append(Chunk{Time: epoch, Stream: Stdout, Offset: off, Data: data}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// gigabyte is 1 GiB of lines in chunks of the guest's size, every fourth on stderr.
func gigabyte(b *testing.B) (dir string, root *os.Root) {
	b.Helper()
	dir = b.TempDir()
	root = openRoot(b, dir)
	o := openOutput(b, root)
	data := bytes.Repeat([]byte("this is a line of 32 characters\n"), 2048)
	for i := 0; o.Offset() < 1<<30; i++ {
		c := Chunk{Time: epoch.Add(time.Duration(i) * time.Millisecond), Stream: Stdout, Offset: o.Offset(), Data: data}
		if i%4 == 0 {
			c.Stream = Stderr
		}
		if err := o.Append(c); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		b.Fatal(err)
	}
	return dir, root
}

// BenchmarkGigabyte compares with cat, into a pipe and into nothing.
func BenchmarkGigabyte(b *testing.B) {
	dir, root := gigabyte(b)
	copyWith := func(opts CopyOptions) func(*testing.B, *os.File) {
		return func(b *testing.B, w *os.File) {
			r, err := OpenReader(root)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			opts.To = r.End()
			if _, err := r.CopyTo(w, opts); err != nil {
				b.Error(err)
			}
		}
	}
	ways := []struct {
		name string
		copy func(*testing.B, *os.File)
	}{
		{"cat", func(b *testing.B, w *os.File) {
			cmd := exec.Command("cat", dir+"/"+LogName)
			cmd.Stdout = w
			if err := cmd.Run(); err != nil {
				b.Error(err)
			}
		}},
		{"all", copyWith(CopyOptions{})},
		{"stdout", copyWith(CopyOptions{Stream: Stdout})},
		{"timestamps", copyWith(CopyOptions{Timestamps: true})},
	}
	for _, way := range ways {
		b.Run(way.name+"/null", func(b *testing.B) {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer null.Close()
			for b.Loop() {
				way.copy(b, null)
			}
		})
		b.Run(way.name+"/pipe", func(b *testing.B) {
			for b.Loop() {
				throughPipe(b, way.copy)
			}
		})
	}
}

// BenchmarkGigabyteSeek opens the files each time, as a command does.
func BenchmarkGigabyteSeek(b *testing.B) {
	_, root := gigabyte(b)
	seeks := map[string]func(*Reader) (int64, error){
		"tail100":       func(r *Reader) (int64, error) { return r.TailOffset(100, AnyStream) },
		"tail100stderr": func(r *Reader) (int64, error) { return r.TailOffset(100, Stderr) },
		"since":         func(r *Reader) (int64, error) { return r.SinceOffset(epoch.Add(time.Second)) },
	}
	for name, seek := range seeks {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := OpenReader(root)
				if err != nil {
					b.Fatal(err)
				}
				if off, err := seek(r); err != nil || off <= 0 || off >= r.End() {
					b.Fatal(off, err)
				}
				r.Close()
			}
		})
	}
}

func throughPipe(b *testing.B, copy func(*testing.B, *os.File)) {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 256<<10)
		for {
			if _, err := r.Read(buf); err != nil {
				if err != io.EOF {
					b.Error(err)
				}
				return
			}
		}
	}()
	copy(b, w)
	w.Close()
	<-done
	r.Close()
}

// BenchmarkOpenUnsynced opens what a crash left unverified: the most that a writer leaves unsynced.
func BenchmarkOpenUnsynced(b *testing.B) {
	root := openRoot(b, b.TempDir())
	o := openOutput(b, root)
	o.syncer.failed = true // no checkpoint
	data := make([]byte, 64<<10)
	for off := int64(0); off < maxUnsynced; off += int64(len(data)) {
		if err := o.Append(Chunk{Time: epoch, Stream: Stdout, Offset: off, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r, err := OpenReader(root)
		if err != nil || r.End() != maxUnsynced {
			b.Fatal(err)
		}
		r.Close()
	}
}
