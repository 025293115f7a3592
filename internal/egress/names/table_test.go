package names

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"moat/internal/policy"
)

func host(t testing.TB, name string) policy.Host {
	t.Helper()
	h, err := policy.Name(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func assign(t testing.TB, table *Table, name string) (v4, v6 netip.Addr) {
	t.Helper()
	v4, v6, err := table.Addresses(host(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return v4, v6
}

func TestTableGivesEachNameItsOwn(t *testing.T) {
	table := NewTable()
	seen := make(map[netip.Addr]string)
	for i := range 300 {
		name := fmt.Sprintf("n%d.example", i)
		v4, v6 := assign(t, table, name)
		for _, addr := range []netip.Addr{v4, v6} {
			if other := seen[addr]; other != "" {
				t.Fatalf("%s has the address of %s", name, other)
			}
			if _, special := policy.Special(addr); !special || !table.Contains(addr) {
				t.Fatalf("%s could be a real address", addr)
			}
			seen[addr] = name
		}
		again, _ := assign(t, table, name)
		if again != v4 {
			t.Fatalf("%s changed from %s to %s", name, v4, again)
		}
	}
	for addr, name := range seen {
		if got, ok := table.Name(addr); !ok || got.Name() != name {
			t.Errorf("Name(%s) = %v, %v; want %s", addr, got, ok, name)
		}
	}
	for _, addr := range []string{"198.18.0.0", "198.19.255.255", "198.20.0.0", "192.0.2.1", "fd6d:6f61:7400::1:0:101", "fd6d:6f61:7401::101", "::"} {
		if got, ok := table.Name(netip.MustParseAddr(addr)); ok {
			t.Errorf("Name(%s) = %v", addr, got)
		}
	}
	if _, _, err := table.Addresses(policy.AddrHost(netip.MustParseAddr("192.0.2.1"))); err == nil {
		t.Error("an address got a made-up address")
	}
}

func TestTableFull(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	table := newTable(3, c.read)
	a, _ := assign(t, table, "a.example")
	assign(t, table, "b.example")
	assign(t, table, "c.example")
	if _, _, err := table.Addresses(host(t, "d.example")); !errors.Is(err, ErrFull) {
		t.Fatalf("err = %v: an address that was told a moment ago was given away", err)
	}
	_, release, ok := table.Hold(a)
	if !ok {
		t.Fatal("no hold")
	}
	c.now = c.now.Add(rest + time.Second)
	assign(t, table, "b.example") // is used again
	d, _ := assign(t, table, "d.example")
	if got, _ := table.Name(d); got.Name() != "d.example" {
		t.Errorf("%s is %v", d, got)
	}
	if got, ok := table.Name(a); !ok || got.Name() != "a.example" {
		t.Errorf("the address of an open connection was given to %v", got)
	}
	if _, _, err := table.Addresses(host(t, "e.example")); !errors.Is(err, ErrFull) {
		t.Errorf("err = %v", err)
	}
	release()
	c.now = c.now.Add(rest + time.Second)
	assign(t, table, "b.example")
	assign(t, table, "d.example")
	if e, _ := assign(t, table, "e.example"); e != a {
		t.Errorf("e.example has %s, the oldest was %s", e, a)
	}
}

func TestTableOnDisk(t *testing.T) {
	first := NewTable()
	a4, _ := assign(t, first, "a.example")
	var disk bytes.Buffer
	if err := first.Log(&disk); err != nil {
		t.Fatal(err)
	}
	b4, b6 := assign(t, first, "b.example")
	disk.WriteString(`{"n":999,"na`) // the writer was killed

	second := NewTable()
	if err := second.Load(bytes.NewReader(disk.Bytes())); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[netip.Addr]string{a4: "a.example", b4: "b.example", b6: "b.example"} {
		if got, ok := second.Name(addr); !ok || got.Name() != want {
			t.Errorf("Name(%s) = %v, want %s", addr, got, want)
		}
	}
	if c4, _ := assign(t, second, "c.example"); c4 == a4 || c4 == b4 {
		t.Errorf("c.example got %s again", c4)
	}
	var saved bytes.Buffer
	if err := second.Save(&saved); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(saved.String(), "\n"); n != 3 {
		t.Errorf("saved %d lines: %s", n, saved.String())
	}
}

func TestTableLoadRefuses(t *testing.T) {
	for _, line := range []string{"x", `{"n":5,"name":"a.example"}`, `{"n":4294967295,"name":"a.example"}`,
		`{"n":300,"name":"A.example"}`, `{"n":300,"name":"127.0.0.1"}`, `{"n":300,"name":""}`, `{"n":-1,"name":"a.example"}`} {
		table := NewTable()
		if err := table.Load(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%s was loaded", line)
		}
	}
}

// broken is a log that cannot be written.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestTableDoesNotTellWhatItCannotKeep(t *testing.T) {
	table := NewTable()
	if err := table.Log(broken{}); err != nil {
		t.Fatal(err)
	}
	if v4, _, err := table.Addresses(host(t, "a.example")); err == nil {
		t.Errorf("%s was told", v4)
	}
}
