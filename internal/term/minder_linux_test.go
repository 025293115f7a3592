package term

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// orders is what a client sends: the settings, and undo bytes twice.
func orders(t *testing.T, before, raw settings) []byte {
	t.Helper()
	data, err := binary.Append(nil, binary.NativeEndian, []settings{before, raw})
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, order := range []struct {
		kind byte
		data []byte
	}{{orderBegin, data}, {orderTell, []byte("FIRST")}, {orderTell, []byte("SECOND")}} {
		b = append(binary.BigEndian.AppendUint32(append(b, order.kind), uint32(len(order.data))), order.data...)
	}
	return b
}

// TestOrdersCutAnywhere ends the orders at every byte: the last that is whole holds.
func TestOrdersCutAnywhere(t *testing.T) {
	p := openPTY(t)
	p.read()
	before := p.settings()
	term := p.openRaw()
	raw := p.settings()
	all := orders(t, before, raw)
	second := len(all) - len("SECOND") - 5
	first := second - len("FIRST") - 5
	for n := range len(all) + 1 {
		if err := setSettings(p.slave, p.slave, raw); err != nil {
			t.Fatal(err)
		}
		if err := mind(bytes.NewReader(all[:n]), p.slave, p.slave); err != nil {
			t.Fatal(err)
		}
		if given := p.settings() == before; given != (n >= first) {
			t.Fatalf("with %d of %d bytes the settings are given back: %v", n, len(all), given)
		}
		switch {
		case n == len(all):
			p.wait("\x1b\\SECOND")
		case n >= second:
			p.wait("\x1b\\FIRST")
		}
	}
	if len(p.output) > 0 {
		t.Errorf("more was written: %q", p.output)
	}
	term.Close()
}

// TestOthersSettings finds that the minder leaves settings that are no longer the client's.
func TestOthersSettings(t *testing.T) {
	p := openPTY(t)
	p.read()
	before := p.settings()
	p.openRaw()
	raw := p.settings()
	others := raw
	others.Lflag |= unix.ISIG
	if err := setSettings(p.slave, p.slave, others); err != nil {
		t.Fatal(err)
	}
	if err := mind(bytes.NewReader(orders(t, before, raw)), p.slave, p.slave); err != nil {
		t.Fatal(err)
	}
	p.wait("SECOND")
	if p.settings() != others {
		t.Error("the settings are not those that somebody else has made")
	}
}

func TestDismissed(t *testing.T) {
	p := openPTY(t)
	before := p.settings()
	p.openRaw()
	raw := p.settings()
	b := append(orders(t, before, raw), orderDismiss, 0, 0, 0, 0)
	if err := mind(bytes.NewReader(b), p.slave, p.slave); err != nil || p.settings() != raw {
		t.Errorf("a minder that was dismissed does something (%v)", err)
	}
}
