package names

import (
	"bufio"
	"container/list"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"moat/internal/policy"
)

// The made-up addresses: IPv4 from the range for benchmarks (RFC 2544), which no network routes and policy refuses as a
// destination; IPv6 from a unique local prefix (RFC 4193) of ours.
const (
	pool4 = "198.18.0.0/15"
	pool6 = "fd6d:6f61:7400::/64"
)

const (
	defaultSize = 1 << 15 // names; both pools are larger
	firstNumber = 256     // numbers below are never given out: nothing ends up at the pools' first addresses
	// rest is how long an unused name keeps its address at least. Programs keep answers for longer than they are told
	// to, and an address that got a new name would send them elsewhere.
	rest = 10 * time.Minute
)

// ErrFull says that every address is in use, or was until a moment ago.
var ErrFull = errors.New("all made-up addresses are in use")

// Table gives names their made-up addresses. It may be used by any number of goroutines.
type Table struct {
	size int
	now  func() time.Time
	net4 netip.Prefix
	net6 netip.Prefix

	mu     sync.Mutex
	byName map[policy.Host]*list.Element
	byNum  map[uint32]*list.Element
	recent *list.List // of *entry, the latest used first
	next   uint32     // numbers from here on were never given out
	log    io.Writer
}

// entry is a name and its number.
type entry struct {
	host policy.Host
	n    uint32
	held int       // connections that go to it
	used time.Time // last answer, or last end of a connection
}

// record is an entry on disk.
type record struct {
	N    uint32 `json:"n"`
	Name string `json:"name"`
}

// NewTable returns an empty table.
func NewTable() *Table { return newTable(defaultSize, time.Now) }

func newTable(size int, now func() time.Time) *Table {
	return &Table{
		size: size, now: now, next: firstNumber,
		net4: netip.MustParsePrefix(pool4), net6: netip.MustParsePrefix(pool6),
		byName: make(map[policy.Host]*list.Element), byNum: make(map[uint32]*list.Element), recent: list.New(),
	}
}

// Addresses returns the made-up addresses of a name, which must not be an address itself. They are new if the name has
// none: then the name that was not used for the longest time gives up its own, if the table is full. The error is
// ErrFull, or that of the log.
func (t *Table) Addresses(host policy.Host) (v4, v6 netip.Addr, err error) {
	if host.Name() == "" {
		return v4, v6, fmt.Errorf("make up an address: %q is not a name", host)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byName[host]
	if e == nil {
		if e, err = t.assign(host); err != nil {
			return v4, v6, err
		}
	}
	t.touch(e)
	n := e.Value.(*entry).n
	return t.addr4(n), t.addr6(n), nil
}

// Hold returns the name of a made-up address and keeps it until release is called, which must be done once.
func (t *Table) Hold(addr netip.Addr) (host policy.Host, release func(), ok bool) {
	n, ok := t.number(addr)
	if !ok {
		return policy.Host{}, nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byNum[n]
	if e == nil {
		return policy.Host{}, nil, false
	}
	held := e.Value.(*entry)
	held.held++
	return held.host, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		held.held--
		t.touch(e)
	}, true
}

// Name returns the name of a made-up address.
func (t *Table) Name(addr netip.Addr) (policy.Host, bool) {
	host, release, ok := t.Hold(addr)
	if ok {
		release()
	}
	return host, ok
}

// Contains reports whether an address is in the ranges of made-up addresses, with a name or without.
func (t *Table) Contains(addr netip.Addr) bool { return t.net4.Contains(addr) || t.net6.Contains(addr) }

// Log writes every name that gets an address to w from now on, one line in one Write, before the address is given out:
// a successor that loads these lines knows every address that any program was told. It begins with a Save.
func (t *Table) Log(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.save(w); err != nil {
		return err
	}
	t.log = w
	return nil
}

// Save writes the table as it is, the name that was not used for the longest time first.
func (t *Table) Save(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save(w)
}

func (t *Table) save(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	for e := t.recent.Back(); e != nil; e = e.Prev() {
		if err := writeRecord(buffered, e.Value.(*entry)); err != nil {
			return fmt.Errorf("save names: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("save names: %w", err)
	}
	return nil
}

func writeRecord(w io.Writer, e *entry) error {
	line, err := json.Marshal(record{N: e.n, Name: e.host.Name()})
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Load adds what Log or Save wrote. Its last line may be torn; any other line that is not a name and its number is an
// error, and what came before it is kept.
func (t *Table) Load(r io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bufio.NewReader(io.LimitReader(r, 64<<20))
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a torn line was never answered from
		}
		if err != nil {
			return fmt.Errorf("load names: %w", err)
		}
		if err := t.loadLine(line); err != nil {
			return fmt.Errorf("load names: line %d: %w", number, err)
		}
	}
}

func (t *Table) loadLine(line []byte) error {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	host, err := policy.Name(r.Name)
	if err != nil {
		return err
	}
	if host.Name() != r.Name || r.N < firstNumber || r.N >= t.end() {
		return fmt.Errorf("%q cannot have number %d", r.Name, r.N)
	}
	t.forget(t.byName[host])
	t.forget(t.byNum[r.N])
	t.insert(host, r.N)
	t.next = max(t.next, r.N+1)
	return nil
}

func (t *Table) end() uint32 { return firstNumber + uint32(t.size) }

func (t *Table) assign(host policy.Host) (*list.Element, error) {
	n := t.next
	if n >= t.end() {
		oldest := t.oldest()
		if oldest == nil {
			return nil, ErrFull
		}
		n = oldest.Value.(*entry).n
		t.forget(oldest)
	} else {
		t.next++
	}
	e := t.insert(host, n)
	if t.log == nil {
		return e, nil
	}
	if err := writeRecord(t.log, e.Value.(*entry)); err != nil {
		t.forget(e) // its number is lost, which is better than an address that a successor does not know
		return nil, fmt.Errorf("keep a name: %w", err)
	}
	return e, nil
}

// oldest is the entry that may give up its address, or nil.
func (t *Table) oldest() *list.Element {
	limit := t.now().Add(-rest)
	for e := t.recent.Back(); e != nil; {
		switch have := e.Value.(*entry); {
		case have.held > 0:
			newer := e.Prev()
			t.touch(e)
			e = newer
		case have.used.After(limit):
			return nil
		default:
			return e
		}
	}
	return nil
}

func (t *Table) insert(host policy.Host, n uint32) *list.Element {
	e := t.recent.PushFront(&entry{host: host, n: n, used: t.now()})
	t.byName[host], t.byNum[n] = e, e
	return e
}

func (t *Table) forget(e *list.Element) {
	if e == nil {
		return
	}
	have := t.recent.Remove(e).(*entry)
	delete(t.byName, have.host)
	delete(t.byNum, have.n)
}

func (t *Table) touch(e *list.Element) {
	e.Value.(*entry).used = t.now()
	t.recent.MoveToFront(e)
}

func (t *Table) addr4(n uint32) netip.Addr {
	a := t.net4.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+n)
	return netip.AddrFrom4(a)
}

func (t *Table) addr6(n uint32) netip.Addr {
	a := t.net6.Addr().As16()
	binary.BigEndian.PutUint32(a[12:], n)
	return netip.AddrFrom16(a)
}

// number is the inverse of addr4 and addr6.
func (t *Table) number(addr netip.Addr) (uint32, bool) {
	switch {
	case t.net4.Contains(addr):
		a, base := addr.As4(), t.net4.Addr().As4()
		return binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]), true
	case t.net6.Contains(addr):
		a := addr.As16()
		return binary.BigEndian.Uint32(a[12:]), binary.BigEndian.Uint32(a[8:12]) == 0
	}
	return 0, false
}
