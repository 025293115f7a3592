package intercept

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Everything arrives, in order, whatever the sizes; and what a closed connection did not take is an error of a later Write.
func TestBehind(t *testing.T) {
	client, server := net.Pipe()
	b := newBehind(server, newPool(bulkSize))
	b.begin()
	sum, got := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(got, client)
		done <- err
	}()
	for n := range 300 {
		piece := bytes.Repeat([]byte{byte(n)}, (n*7919)%(40<<10))
		sum.Write(piece)
		if wrote, err := b.Write(piece); err != nil || wrote != len(piece) {
			t.Fatal(wrote, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(sum.Sum(nil), got.Sum(nil)) {
		t.Errorf("what arrived is not what was written: %v", err)
	}
}

func TestBehindFails(t *testing.T) {
	client, server := net.Pipe()
	b := newBehind(server, newPool(bulkSize))
	b.begin()
	client.Close()
	var err error
	for range 3 {
		if _, err = b.Write(make([]byte, bulkSize)); err != nil {
			break
		}
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the error is not told: %v", err)
	}
	// Nobody reads: Close does not wait for ever.
	_, server = net.Pipe()
	b = newBehind(server, newPool(bulkSize))
	b.begin()
	b.patience = 50 * time.Millisecond
	b.Write(make([]byte, bulkSize))
	began := time.Now()
	b.Close()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("Close took %v", took)
	}
}
