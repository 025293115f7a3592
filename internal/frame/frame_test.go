package frame_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"moat/internal/frame"
)

func TestRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	w := frame.NewWriter(&wire)
	payloads := [][]byte{nil, []byte("x"), bytes.Repeat([]byte{0xff, 0}, 700), make([]byte, frame.Max)}
	for i, p := range payloads {
		if err := w.Write(byte(i), p[:len(p)/2], p[len(p)/2:]); err != nil {
			t.Fatal(err)
		}
	}
	for name, r := range map[string]io.Reader{
		"whole":         bytes.NewReader(wire.Bytes()),
		"byte by byte":  iotest.OneByteReader(bytes.NewReader(wire.Bytes())),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(wire.Bytes())),
	} {
		fr := frame.NewReader(r)
		for i, want := range payloads {
			kind, got, err := fr.Next()
			if err != nil || int(kind) != i || !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d: kind %d, %d bytes, %v", name, i, kind, len(got), err)
			}
		}
		if _, _, err := fr.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("%s: at the end: %v", name, err)
		}
	}
}

func TestBadLengths(t *testing.T) {
	for _, in := range []string{"\x00\x00\x00\x00k", "\xff\xff\xff\xffk", "\x00\x01\x00\x42k"} {
		if _, _, err := frame.NewReader(bytes.NewReader([]byte(in))).Next(); !errors.Is(err, frame.ErrSize) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for _, in := range []string{"\x00", "\x00\x00\x00\x02k", "\x00\x00\x00\x09kabc"} {
		if _, _, err := frame.NewReader(bytes.NewReader([]byte(in))).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02kx\x00\x00\x00\x01k"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := frame.NewReader(bytes.NewReader(in))
		var again []byte
		for {
			kind, p, err := r.Next()
			if err != nil {
				break
			}
			again = frame.Append(again, kind, p)
		}
		if !bytes.HasPrefix(in, again) {
			t.Fatalf("frames %q are not a prefix of %q", again, in)
		}
	})
}
