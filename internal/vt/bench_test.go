package vt

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func plainText(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%06d %s\r\n", i, "the quick brown fox jumps over the lazy dog, again and again"[:20+i%41])
	}
	return b.Bytes()
}

func coloredText(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "\x1b[%dm%06d\x1b[0m \x1b[38;5;%dmcolour\x1b[0m and \x1b[1;38;2;%d;10;20mbold\x1b[0m text\r\n", 31+i%7, i, i%256, i%256)
	}
	return b.Bytes()
}

func benchmarkWrite(b *testing.B, cols, rows int, data []byte) {
	t := New(cols, rows, Options{})
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := data; len(rest) > 0; { // as it comes from a PTY
			n := min(len(rest), 4096)
			t.Write(rest[:n])
			rest = rest[n:]
		}
		t.TakeEvents()
		t.TakeReplies()
	}
}

func BenchmarkWrite(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkWrite(b, 80, 24, plainText(1<<20)) })
	b.Run("coloured", func(b *testing.B) { benchmarkWrite(b, 80, 24, coloredText(1<<20)) })
	b.Run("cjk", func(b *testing.B) {
		benchmarkWrite(b, 80, 24, bytes.Repeat([]byte("日本語のテキストと漢字、かな\r\n"), 20000))
	})
	for _, r := range readRecordings(b) {
		b.Run(r.name, func(b *testing.B) { benchmarkWrite(b, r.cols, r.rows, r.data) })
	}
}

// BenchmarkRecordings is all recordings one after the other.
func BenchmarkRecordings(b *testing.B) {
	var terms []*Terminal
	recs := readRecordings(b)
	var n int64
	for _, r := range recs {
		terms = append(terms, New(r.cols, r.rows, Options{}))
		n += int64(len(r.data))
	}
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		for i, r := range recs {
			terms[i].Write(r.data)
			terms[i].TakeEvents()
			terms[i].TakeReplies()
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, r := range readRecordings(b) {
		if r.name != "vim" && r.name != "htop" {
			continue
		}
		b.Run(r.name, func(b *testing.B) {
			t := New(r.cols, r.rows, Options{})
			t.Write(r.data[:len(r.data)*9/10])
			b.ReportAllocs()
			for b.Loop() {
				t.Snapshot(SnapshotOptions{})
			}
		})
	}
	b.Run("scrollback10000", func(b *testing.B) {
		t := New(80, 24, Options{})
		t.Write(plainText(1 << 20))
		b.ReportAllocs()
		for b.Loop() {
			b.SetBytes(int64(len(t.Snapshot(SnapshotOptions{}))))
		}
	})
}

func BenchmarkResize(b *testing.B) {
	t := New(80, 24, Options{})
	t.Write(plainText(1 << 20))
	for i := 0; b.Loop(); i++ {
		t.Resize(80+i%2*40, 24+i%2*10)
	}
}

// TestMemory: 10,000 full lines of scrollback take at most 20 MB, on a wide
// screen and with a colour change every few cells.
func TestMemory(t *testing.T) {
	line := strings.Repeat("\x1b[31mred\x1b[38;2;1;2;3mrgb日本 ", 20) + "\x1b[m\r\n"
	data := []byte(strings.Repeat(line, 10_100))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	term := New(220, 50, Options{})
	term.Write(data)
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	rows, _ := term.ScrollbackLen()
	t.Logf("%d rows of scrollback: %d bytes packed, %.1f MB in all", rows, term.hist.bytes, float64(used)/1e6)
	if used > 20e6 {
		t.Errorf("%d bytes", used)
	}
	runtime.KeepAlive(term)
	runtime.KeepAlive(data)
}
